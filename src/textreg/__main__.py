"""`python -m textreg`: the `textreg` command, as torchrun starts it."""

import sys

from textreg.cli import main

if __name__ == "__main__":
    sys.exit(main())
