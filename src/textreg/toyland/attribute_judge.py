"""The judge: reads every attribute of a picture, and says how well a text describes it.

It shares no training picture and no weight with the base.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn

from .attributes import HEADS

if TYPE_CHECKING:
    from collections.abc import Sequence

FEATURES = 128
"""Length of the feature vectors."""

JUDGE_FOLDER = Path(__file__).parent / "judge"


class JudgeNetwork(nn.Module):
    """Strided convolutions with a residual each, one feature vector, one head an attribute."""

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


class TextNetwork(nn.Module):
    """The other half of the dual encoder: a text, and a picture's features, in one space."""

    def __init__(self, words: Sequence[str], width: int = 96) -> None:
        super().__init__()
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, 1)}
        self.embedding = nn.Embedding(len(self.words) + 1, width)
        self.reader = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, FEATURES)
        self.picture = nn.Linear(FEATURES, FEATURES)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into unit vectors [n, 128]; unknown words count as none."""
        found = [[self._numbers.get(w) for w in re.findall(r"[a-z0-9]+", t)] for t in texts]
        rows = [[number for number in row if number] or [0] for row in found]
        device = self.embedding.weight.device
        packed = rnn.pack_sequence(
            [self.embedding(torch.tensor(row, device=device)) for row in rows],
            enforce_sorted=False,
        )
        hidden, lengths = rnn.pad_packed_sequence(self.reader(packed)[0], batch_first=True)
        pooled = hidden.sum(1) / lengths.to(device)[:, None]
        return functional.normalize(self.out(pooled), dim=1)

    def match(self, features: Tensor) -> Tensor:
        """Turn a picture's features [n, 128] into unit vectors of the same space."""
        return functional.normalize(self.picture(features), dim=1)


class Judge:
    """Reads pictures and compares them with texts; never differentiated."""

    def __init__(
        self, network: JudgeNetwork, text: TextNetwork, temperature: dict[str, float] | None = None
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.text = text.eval().requires_grad_(False)
        self.temperature = temperature or dict.fromkeys(HEADS, 1.0)
        """Each attribute's logits are divided by its own, so that probabilities are calibrated."""

    @classmethod
    def load(cls, folder: Path = JUDGE_FOLDER, device: str = "cpu") -> Judge:
        """Load the embedded judge, or one from another folder."""
        with safe_open(folder / "judge.safetensors", "pt", device=device) as file:
            config = json.loads(file.metadata()["config"])
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        weights = {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
        network, text = JudgeNetwork(config["width"]), TextNetwork(config["words"])
        for name, module in (("network", network), ("text", text)):
            prefix = f"{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            )
        return cls(network.to(device), text.to(device), config["temperature"])

    def save(self, folder: Path, width: int) -> None:
        """Write the weights in half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            f"{name}.{key}": value.half().contiguous() if value.is_floating_point() else value
            for name, module in (("network", self.network), ("text", self.text))
            for key, value in module.state_dict().items()
        }
        config = {"width": width, "words": self.text.words, "temperature": self.temperature}
        metadata = {"format": "pt", "config": json.dumps(config)}
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
        logits = self._run(images)[1]
        return {key: (value / self.temperature[key]).softmax(1) for key, value in logits.items()}

    def features(self, images: Tensor) -> Tensor:
        """Return unit feature vectors [n, 128]; their inner product says how alike pictures are."""
        return functional.normalize(self._run(images)[0], dim=1)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [n, 128] of texts, to compare with `match_features`."""
        return self.text(texts)

    @torch.no_grad()
    def match_features(self, images: Tensor) -> Tensor:
        """Return unit vectors [n, 128]; inner products with a text's say how well it describes."""
        return self.text.match(self._run(images)[0])
