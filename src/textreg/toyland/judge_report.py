"""How well the judge reads: real renders, the same through the base's autoencoder, confusions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .attribute_judge import Judge
from .attributes import HEADS, Picture, numbered_picture
from .captions import plain_prompt
from .group_norm import use_quick_group_norm
from .scoring import FIRST_SEED, load_pipeline, render_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

RETRIEVAL = 512
"""Pictures among which a text must find its own."""


@torch.no_grad()
def through_autoencoder(base: Path, images: Tensor) -> Tensor:
    """Return pictures [n, 3, 64, 64] in 0..1 after the base's encoder and decoder."""
    autoencoder = load_pipeline(base).vae.to(memory_format=torch.channels_last)
    use_quick_group_norm(autoencoder)
    parts = [
        autoencoder.decode(autoencoder.encode(part * 2 - 1).latent_dist.mean).sample
        for part in images.split(64)
    ]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Return the mean gap between confidence and accuracy, weighted by the bins' sizes.

    Args:
        probabilities: [n, values].
        labels: [n].
        bins: equal widths of the confidence.

    Source: Guo et al., ICML 2017, equation 3.
    """
    confidence, chosen = probabilities.max(1)
    right = (chosen == labels).float()
    which = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [
        (confidence[which == b] - right[which == b]).sum().abs() for b in which.unique().tolist()
    ]
    return (torch.stack(gaps).sum() / len(labels)).item()


def confusion(chosen: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return how often value j was read where i was drawn: [count, count], rows sum to 1."""
    table = torch.zeros(count, count).index_put_(
        (labels, chosen), torch.ones(len(labels)), accumulate=True
    )
    return table / table.sum(1, keepdim=True).clamp(min=1)


def retrieval(judge: Judge, images: Tensor, pictures: Sequence[Picture]) -> float:
    """Return the share of prompts that find their own picture among all; equal prompts count."""
    texts = [plain_prompt(picture).text for picture in pictures]
    best = (judge.text_features(texts) @ judge.match_features(images).T).argmax(1).tolist()
    return sum(texts[k] == text for k, text in zip(best, texts, strict=True)) / len(texts)


def report(base: Path, num_images: int, judge: Judge) -> dict[str, Any]:
    """Measure the judge on held-out renders.

    Args:
        base: whose autoencoder the pictures go through.
        num_images: renders.
        judge: the judge.

    Returns:
        by attribute: accuracy on renders and on reconstructions, calibration error, confusions;
        and the share of prompts that find their picture.
    """
    pictures = [numbered_picture("evaluate", FIRST_SEED // 2 + k) for k in range(num_images)]
    images = render_tensor(pictures)
    labels = torch.tensor([picture.labels() for picture in pictures])
    read, again = judge.read(images), judge.read(through_autoencoder(base, images))
    heads: dict[str, Any] = {}
    for k, head in enumerate(HEADS):
        chosen = read[head].argmax(1)
        heads[head] = {
            "renders": round((chosen == labels[:, k]).float().mean().item(), 4),
            "reconstructed": round(
                (again[head].argmax(1) == labels[:, k]).float().mean().item(), 4
            ),
            "calibration error": round(expected_calibration_error(read[head], labels[:, k]), 4),
            "calibration error, reconstructed": round(
                expected_calibration_error(again[head], labels[:, k]), 4
            ),
            "confusion": [
                [round(share, 4) for share in row]
                for row in confusion(chosen, labels[:, k], len(HEADS[head])).tolist()
            ],
        }
    found = retrieval(judge, images[:RETRIEVAL], pictures[:RETRIEVAL])
    return {"num_images": num_images, "retrieval among 512": round(found, 4), "heads": heads}


def plot(result: dict[str, Any], out: Path) -> None:
    """Draw the confusion matrices of class, colour, scene and style."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(17, 5.4), width_ratios=(3, 1.5, 1.8, 1))
    for axis, head in zip(axes, ("noun", "colour", "scene", "style"), strict=True):
        names = HEADS[head]
        axis.imshow(result["heads"][head]["confusion"], cmap="Blues", vmin=0, vmax=1)
        axis.set(xticks=range(len(names)), yticks=range(len(names)))
        axis.set_xticklabels(names, rotation=90, fontsize=7)
        axis.set_yticklabels(names, fontsize=7)
        axis.set(title=f"{head}: {result['heads'][head]['renders']:.1%} right", xlabel="read")
    axes[0].set_ylabel("drawn")
    figure.tight_layout()
    figure.savefig(out, dpi=80)


def main() -> None:
    """Write toyland-judge.json and images/toyland-judge.png into a folder."""
    from . import path

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="for example docs")
    parser.add_argument("--base", type=Path, default=path())
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--num-images", type=int, default=3000)
    arguments = parser.parse_args()
    judge = Judge.load(arguments.judge) if arguments.judge else Judge.load()
    result = report(arguments.base, arguments.num_images, judge)
    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    (arguments.out / "toyland-judge.json").write_text(json.dumps(result) + "\n")
    plot(result, arguments.out / "images" / "toyland-judge.png")


if __name__ == "__main__":
    main()
