"""What pictures are made of: loops over pixels, shapes of regions, marks on them, and the footer."""
