"""Training of the base's text encoder: contrastively, against a convolutional image tower."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attributes import HEADS
from .autoencoder import to_tensor
from .captions import write_caption
from .training import Training, half_precision
from .vocabulary import MAX_LENGTH

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPTextModel, CLIPTokenizer

    from .dataset import Pictures
    from .presets import Preset

UNSTATED = -100
"""Label of an attribute that a caption leaves open; no loss is taken on it."""


def build_text_encoder(tokenizer: CLIPTokenizer, preset: Preset) -> CLIPTextModel:
    """Return an untrained text encoder for the tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    # Typed as any of the things a tokenizer may hold; these three are numbers.
    special: Any = tokenizer
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=preset.text_width,
            intermediate_size=4 * preset.text_width,
            num_hidden_layers=preset.text_layers,
            num_attention_heads=preset.text_width // 48,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=preset.text_width,
            bos_token_id=special.bos_token_id,
            # The default of 2 would select the pooling of the first CLIP checkpoints.
            eos_token_id=special.eos_token_id,
            pad_token_id=special.pad_token_id,
        )
    )


class ImageTower(nn.Module):
    """The picture's side of the contrast; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = 3
        for outer in (32, 64, 128, 192):
            layers += [
                nn.Conv2d(inner, outer, 3, 2, 1, bias=False),
                nn.BatchNorm2d(outer),
                nn.SiLU(),
            ]
            inner = outer
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(inner * 16, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures [n, 3, 64, 64] in -1..1 into features [n, width]."""
        return self.out(self.body(pictures).flatten(1))


class Contrast(nn.Module):
    """Projections into the shared space, the temperature, and a reader of each attribute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.readers = nn.ModuleDict({k: nn.Linear(width, len(v)) for k, v in HEADS.items()})

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Return the symmetric contrastive loss of matching features [n, width]."""
        first = functional.normalize(self.text(text), dim=1)
        second = functional.normalize(image, dim=1)
        scores = self.scale.exp().clamp(max=100) * first @ second.T
        same = torch.arange(len(scores), device=scores.device)
        rows, columns = (
            functional.cross_entropy(scores, same),
            functional.cross_entropy(scores.T, same),
        )
        return (rows + columns) / 2

    def read(self, text: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of reading the stated attributes; labels [n, heads]."""
        losses = [
            functional.cross_entropy(
                reader(text), labels[:, k], ignore_index=UNSTATED, reduction="sum"
            )
            for k, reader in enumerate(self.readers.values())
        ]
        return torch.stack(losses).sum() / (labels != UNSTATED).sum()


def train_text_encoder(
    folder: Path, pictures: Pictures, tokenizer: CLIPTokenizer, preset: Preset, device: str
) -> CLIPTextModel:
    """Train, or go on training, and return the averaged text encoder.

    To the contrastive loss comes one that reads each attribute that a caption states from the
    end token's feature: on a small batch it is the steadier teacher of the rarer attributes.
    """
    torch.manual_seed(1)
    model = build_text_encoder(tokenizer, preset)
    tower, contrast = ImageTower(preset.text_width), Contrast(preset.text_width)
    training = Training(
        folder,
        "text_encoder",
        {"text_encoder": model, "tower": tower, "contrast": contrast},
        steps=preset.text_steps,
        peak=1e-3,
        device=device,
        average=0.995,
    )
    while not training.done:
        random = Random(f"text/{training.step}")
        chosen = random.sample(range(len(pictures)), preset.text_batch)
        shown = [pictures.attributes(index) for index in chosen]
        captions = [write_caption(picture, random) for picture in shown]
        labels = [
            [
                label if head in caption.stated else UNSTATED
                for head, label in zip(HEADS, picture.labels(), strict=True)
            ]
            for picture, caption in zip(shown, captions, strict=True)
        ]
        tokens = tokenizer(
            [caption.text for caption in captions],
            padding=True,
            truncation=True,
            max_length=MAX_LENGTH,
            return_tensors="pt",
        ).to(device)
        with half_precision(device):
            text = model(input_ids=tokens.input_ids).pooler_output
            image = tower(to_tensor(pictures.pixels(chosen), device))
        text, image = text.float(), image.float()
        training.update(
            {
                "contrast": contrast(text, image),
                "reading": contrast.read(text, torch.tensor(labels, device=device)),
            }
        )
    training.averaged()
    return model
