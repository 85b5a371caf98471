"""`python -m textreg`: the `textreg` command, as torchrun starts it."""

import os
import sys

from textreg.cli import command
from textreg.ranks import of_torchrun

if __name__ == "__main__":
    code = command()
    if of_torchrun().size > 1:
        # gloo's threads may still hold tensors, and to free them while the interpreter ends aborts
        # the process (PyTorch's pull request 179291). All files are whole and closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
