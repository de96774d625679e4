"""`python -m videxplain` is the `videxplain` command."""

import sys

from videxplain.cli import main

sys.exit(main())
