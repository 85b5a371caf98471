"""The model families as data: the parts of a base, and of which class each is. Imports no torch."""

from __future__ import annotations

from typing import Any

FAMILIES = "Stable Diffusion 1.x, 2.x and XL"
"""Those that are supported, for messages."""
_ONE_ENCODER = {
    "tokenizer": "CLIPTokenizer",
    "text_encoder": "CLIPTextModel",
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
}
_TWO_ENCODERS = _ONE_ENCODER | {
    "tokenizer_2": "CLIPTokenizer",
    "text_encoder_2": "CLIPTextModelWithProjection",
}


def parts_of(index: dict[str, Any]) -> dict[str, str]:
    """Class of every part that a base with this model_index.json has to have."""
    return _TWO_ENCODERS if "text_encoder_2" in index else _ONE_ENCODER


def other_channels(found: int, latent: int) -> str:
    """What to say of a denoiser that does not read a picture's latent alone."""
    return (
        f"its denoiser reads {found} channels, not the {latent} of a picture: an inpainting, depth "
        "or upscaling model, which is not supported"
    )


def has_weights(part: str) -> bool:
    """Whether a part is a model; the others are settings and words."""
    return not part.startswith("tokenizer")
