"""A page to look at an explained clip or video, and to ask again: exported, served on this machine, or in a notebook."""
