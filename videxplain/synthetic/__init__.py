"""Generated clips with known answers, and the textures they are made of."""
