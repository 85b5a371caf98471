"""The model families as data: the parts of a base, and of which class each is. Imports no torch."""

from __future__ import annotations

from typing import Any

FAMILIES = "Stable Diffusion 1.x and 2.x"
"""Those that are supported, for messages."""
_PARTS = {
    "tokenizer": "CLIPTokenizer",
    "text_encoder": "CLIPTextModel",
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
}


def parts_of(index: dict[str, Any]) -> dict[str, str]:
    """Class of every part that a base with this model_index.json has to have."""
    return _PARTS


def other_channels(found: int, latent: int) -> str:
    """What to say of a denoiser that does not read a picture's latent alone."""
    return (
        f"its denoiser reads {found} channels, not the {latent} of a picture: an inpainting, depth "
        "or upscaling model, which is not supported"
    )


def has_weights(part: str) -> bool:
    """Whether a part is a model; the others are settings and words."""
    return not part.startswith("tokenizer")
