"""`python -m videxplain` is the `videxplain` command."""

from videxplain.cli import entry

entry()
