"""The documented commands, read by a real shell: what a program finds in its argument list."""

import subprocess
from pathlib import Path

TEXT = (Path(__file__).parent / "data" / "seed_commands.txt").read_text()
TRAINING, SAMPLING = TEXT.split("\n\nCUDA_VISIBLE_DEVICES=1")
SAMPLING = "CUDA_VISIBLE_DEVICES=1" + SAMPLING


def words_of(command: str) -> list[str]:
    """The script's path and its arguments."""
    program = 'python() { printf "%s\\0" "$@"; }\n' + command
    said = subprocess.run(["bash", "-c", program], capture_output=True, check=True, text=True)
    return said.stdout.removesuffix("\0").split("\0")
