"""A page to look at what was explained, and to ask again: exported, served on this machine, or in a notebook."""
