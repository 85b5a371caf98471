"""The documented commands, read by a real shell: what a program finds in its argument list."""

import subprocess
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "data" / "seed_commands.txt").read_text()
TRAINING, SAMPLING = TEXT.split("\n\nCUDA_VISIBLE_DEVICES=1")
SAMPLING = "CUDA_VISIBLE_DEVICES=1" + SAMPLING

RUN = Path("logs/cat/2023-11-16T23-07-45_cat_textReg")
# The last of two equal flags counts: small pictures, few steps.
SHORT = ["--resolution=16", "--ti_train_step=2", "--max_train_steps=4", "--save_steps=1"]
FILES = ["lora_weight.safetensors", *[f"lora_weight_s{n}.safetensors" for n in range(1, 5)]]


def words_of(command: str) -> list[str]:
    """The script's path and its arguments."""
    program = 'python() { printf "%s\\0" "$@"; }\n' + command
    said = subprocess.run(["bash", "-c", program], capture_output=True, check=True, text=True)
    return said.stdout.removesuffix("\0").split("\0")


def lay_out(place: Path, base: Path, pictures: Path) -> None:
    """Link model and pictures to where the commands look for them."""
    for path, target in (
        ("models/stable-diffusion-v1-5", base),
        ("custom_datasets/data/cat", pictures),
    ):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).symlink_to(target, target_is_directory=True)
