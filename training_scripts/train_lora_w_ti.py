"""The original's training command; its flags and files are in docs/legacy.md."""

import sys

from textreg.legacy.train import main

if __name__ == "__main__":
    sys.exit(main())
