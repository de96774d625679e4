"""Operations that make of a change in a box of their inputs a change in a box of their result."""
