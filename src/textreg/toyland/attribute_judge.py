"""The judge: a small network that reads every attribute of a picture, and a similarity space."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from .attributes import HEADS

FEATURES = 128
"""Length of the feature vector."""

JUDGE_FOLDER = Path(__file__).parent / "judge"


class JudgeNetwork(nn.Module):
    """Five strided convolutions with a residual each, one feature vector, one head an attribute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 3 * width, 4 * width)
        self.downs, self.stays = nn.ModuleList(), nn.ModuleList()
        inner = 3
        for outer in widths:
            self.downs.append(
                nn.Sequential(nn.Conv2d(inner, outer, 3, 2, 1, bias=False), nn.BatchNorm2d(outer))
            )
            self.stays.append(
                nn.Sequential(nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer))
            )
            inner = outer
        self.out = nn.Linear(inner * 16, FEATURES)
        self.heads = nn.ModuleDict({k: nn.Linear(FEATURES, len(v)) for k, v in HEADS.items()})

    def forward(self, pictures: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Turn pictures [n, 3, 64, 64] in 0..1 into features [n, 128] and logits by attribute."""
        hidden = pictures * 4 - 2
        for number, (down, stay) in enumerate(zip(self.downs, self.stays, strict=True)):
            hidden = functional.silu(down(hidden))
            if number:  # at the first level, 32 x 32, it would cost more than it gives
                hidden = hidden + functional.silu(stay(hidden))
        features = functional.silu(self.out(hidden.flatten(1)))
        return features, {key: head(features) for key, head in self.heads.items()}


class Judge:
    """Reads the attributes of pictures; never differentiated."""

    def __init__(self, network: JudgeNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path = JUDGE_FOLDER, device: str = "cpu") -> Judge:
        """Load the embedded judge, or one from another folder."""
        with safe_open(folder / "judge.safetensors", "pt", device=device) as file:
            width = int(json.loads(file.metadata()["config"])["width"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network = JudgeNetwork(width).to(device)
        network.load_state_dict(
            {
                key: value.float() if value.is_floating_point() else value
                for key, value in weights.items()
            }
        )
        return cls(network)

    def save(self, folder: Path, width: int) -> None:
        """Write the weights in half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            key: value.half().contiguous() if value.is_floating_point() else value
            for key, value in self.network.state_dict().items()
        }
        metadata = {"format": "pt", "config": json.dumps({"width": width})}
        save_file(weights, folder / "judge.safetensors", metadata)

    @torch.no_grad()
    def _run(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        device = next(self.network.parameters()).device
        results = [self.network(part.to(device).float()) for part in images.split(256)]
        features = torch.cat([features for features, _ in results])
        return features, {k: torch.cat([logits[k] for _, logits in results]) for k in HEADS}

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Return the probabilities of each attribute's values, in the order of HEADS.

        Args:
            images: floats [n, 3, 64, 64] in 0..1.

        Returns:
            attribute name -> probabilities [n, values].
        """
        return {key: logits.softmax(1) for key, logits in self._run(images)[1].items()}

    def features(self, images: Tensor) -> Tensor:
        """Return unit feature vectors [n, 128]; their inner product says how alike pictures are."""
        return functional.normalize(self._run(images)[0], dim=1)
