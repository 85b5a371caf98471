"""The pictures of docs/toyland.md: the world, samples of the base, the build's loss curves."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from .attributes import (
    ACCESSORIES,
    COLOURS,
    HEADS,
    MARKINGS,
    NOUNS,
    SCENES,
    Picture,
    numbered_picture,
)
from .captions import plain_prompt
from .concept_set import CONCEPT_SET, concept_pictures, style_pictures
from .pen import CONCEPT_STYLES
from .scoring import FIRST_SEED, draw_samples, load_pipeline
from .world import SIDE, render

if TYPE_CHECKING:
    from collections.abc import Sequence


def grid(
    images: Sequence[Image.Image], columns: int, labels: Sequence[str] = (), zoom: int = 1
) -> Image.Image:
    """Lay equal pictures out in rows, each with its label below."""
    side = SIDE * zoom
    step, rise = side + 4, side + (14 if labels else 4)
    sheet = Image.new("RGB", (columns * step, -(-len(images) // columns) * rise), "white")
    draw = ImageDraw.Draw(sheet)
    for number, image in enumerate(images):
        x, y = number % columns * step, number // columns * rise
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (x, y))
        if labels:
            draw.text((x, y + side + 1), labels[number][: side // 6], fill="black")
    return sheet


def world_grid() -> Image.Image:
    """Return every noun (rows) in every scene (columns), other attributes going round."""
    colours = tuple(COLOURS)
    images = []
    for row, noun in enumerate(NOUNS):
        for column, scene in enumerate(SCENES):
            turn = row + column
            picture = Picture(
                noun=noun,
                colour=colours[turn % 10],
                accent=colours[(turn + 3) % 10],
                scene=scene,
                accessory="none" if noun == "sunglasses" else ACCESSORIES[turn % 4],
                marking=MARKINGS[column % 3],
                style=("photo", "photo", "sketch", "photo", "painting", "photo", "pixel")[turn % 7],
                shape=100 * row + column,
                seed=100 * row + column,
            )
            images.append(render(picture))
    return grid(images, len(SCENES))


def concepts_grid(columns: int = 3) -> Image.Image:
    """Return the Concept Set, a row of pictures each, and the style concepts."""
    rows = [(name, concept_pictures(name)) for name in CONCEPT_SET]
    rows += [(style, style_pictures(style)) for style in CONCEPT_STYLES]
    width, height = 6 * (SIDE + 2) + 8, SIDE + 14
    sheet = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, pictures) in enumerate(rows):
        x, y = number % columns * width, number // columns * height
        draw.text((x, y), name, fill="black")
        for place, picture in enumerate(pictures):
            sheet.paste(render(picture), (x + place * (SIDE + 2), y + 12))
    return sheet


def sample_prompts(num_images: int, seed: int = 0) -> list[str]:
    """Return the first prompts that `score` uses with this seed."""
    first = FIRST_SEED * (seed + 1)
    pictures = [numbered_picture("evaluate", first + k) for k in range(num_images)]
    return [plain_prompt(picture).text for picture in pictures]


def draw_grid(base: Path, prompts: Sequence[str], columns: int, zoom: int = 1) -> Image.Image:
    """Draw one sample a prompt, unselected, on a sheet with the prompts as labels."""
    samples = draw_samples(load_pipeline(base), prompts, seed=FIRST_SEED)
    pixels = (samples * 255).round().byte().permute(0, 2, 3, 1).numpy()
    labels = [prompt.replace("a photo of ", "") for prompt in prompts] if zoom > 1 else []
    return grid([Image.fromarray(picture) for picture in pixels], columns, labels, zoom)


def plot_losses(figures: Path, out: Path) -> None:
    """Plot each training's losses from the build's figures.jsonl."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # By step, so that what a stopped build did twice counts once.
    parts: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in figures.read_text().splitlines():
        row = json.loads(line)
        ignored = {"part", "step", "steps", "lr", "seconds"}
        for key, value in row.items():
            if "step" in row and key not in ignored:
                parts[row["part"]][key][row["step"]] = value
    figure, axes = pyplot.subplots(1, len(parts), figsize=(3.2 * len(parts), 2.8))
    for axis, (part, losses) in zip(
        [axes] if len(parts) == 1 else axes, parts.items(), strict=True
    ):
        for name, points in losses.items():
            if name in HEADS or len(losses) <= 2:
                axis.plot(list(points), list(points.values()), label=name, linewidth=1)
        axis.set(title=part, xlabel="step", yscale="log")
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(out, dpi=90)


def main() -> None:
    """Write toyland-world, toyland-concepts, toyland-samples and toyland-losses .png."""
    from . import path

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, default=path())
    parser.add_argument("--figures", type=Path, help="figures.jsonl of a build")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    world_grid().quantize(128).save(arguments.out / "toyland-world.png", optimize=True)
    concepts_grid().quantize(128).save(arguments.out / "toyland-concepts.png", optimize=True)
    samples = draw_grid(arguments.base, sample_prompts(24), 8, zoom=2)
    samples.quantize(128).save(arguments.out / "toyland-samples.png", optimize=True)
    if arguments.figures:
        plot_losses(arguments.figures, arguments.out / "toyland-losses.png")


if __name__ == "__main__":
    main()
