"""What was explained, as files of other tools; each format has a module."""
