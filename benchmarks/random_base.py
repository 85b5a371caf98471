"""Write a Stable Diffusion folder with random weights: a family's true size, or a tiny one.

    python benchmarks/random_base.py --size sd15 --out models/random-sd15

The weights mean nothing; the architecture, the files and the sizes are the true ones, those of the
configurations that come with the package. The true sizes have CLIP's own vocabulary.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from textreg.base_configs import CONFIGS, Merge, clip_merges, vocabulary
from textreg.randomness import generator

_SETTINGS = """\
# The textreg preset with one class template: several would leave no direction of 64 to the edit.
prior: textreg+context
textreg: {hard: true, edit_weight: 0, class_templates: one}
"""


def write_base(folder: Path, size: str = "tiny", *, seed: int = 0, dtype: str = "float32") -> Path:
    """Write the folder and return it."""
    import diffusers
    import transformers

    torch.manual_seed(seed)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    parts = _SIZES[size]
    merges = tiny_merges() if size.startswith("tiny") else clip_merges()
    tokens = vocabulary(merges)
    models: dict[str, Any] = {}
    ends = {"bos_token_id": tokens["<|startoftext|>"], "eos_token_id": tokens["<|endoftext|>"]}
    try:
        for part in [p for p in parts if p.startswith("tokenizer")]:
            transformers.CLIPTokenizer(vocab=tokens, merges=merges, **parts[part]).save_pretrained(
                folder / part
            )
        for part in [p for p in parts if p.startswith("text_encoder")]:
            config = ends | {"pad_token_id": ends["eos_token_id"]} | parts[part]
            kind = getattr(transformers, config.pop("architectures", ["CLIPTextModel"])[0])
            config = transformers.CLIPTextConfig(**config | {"vocab_size": len(tokens)})
            models[part] = kind(config)
        models["vae"] = diffusers.AutoencoderKL(**parts["vae"])
        models["unet"] = diffusers.UNet2DConditionModel(**parts["unet"])
        for part, model in models.items():
            if size.startswith("tiny"):
                _redraw(model, f"{seed} {part}")
            model.save_pretrained(folder / part)
    finally:
        torch.set_default_dtype(kept)
    name = parts["scheduler"]["_class_name"]
    getattr(diffusers, name).from_config(parts["scheduler"]).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(_index(parts, name), indent=2))
    if size.startswith("tiny"):
        (folder / "textreg.yaml").write_text(_SETTINGS)
    return folder


@torch.no_grad()
def _redraw(model: torch.nn.Module, seed: str) -> None:
    """The same weights whatever version of a library made the model; constant ones stay."""
    for name, p in model.named_parameters():
        if p.numel() > 1 and bool((p == p.flatten()[0]).all()):
            continue
        inputs = p[0].numel() if p.ndim > 1 and "embedding" not in name else 2500
        scale = 1 / (3 * inputs) ** 0.5  # as torch draws matrices; about .01 for a vector
        p.copy_(scale * torch.randn(p.shape, generator=generator(seed, name)))


def _index(parts: dict[str, Any], scheduler: str) -> dict[str, Any]:
    """What a folder says of its parts."""
    own = "sdxl" if "text_encoder_2" in parts else "sd1"
    index = json.loads((CONFIGS / own / "model_index.json").read_text())
    absent = ("feature_extractor", "image_encoder", *(["safety_checker"] if own == "sd1" else []))
    more = {"requires_safety_checker": False} if own == "sd1" else {}
    return (
        index
        | {"_diffusers_version": "0.42.1", "scheduler": ["diffusers", scheduler]}
        | {part: [None, None] for part in absent}
        | more
    )


def tiny_merges() -> list[Merge]:
    """The merges of a few whole words."""
    merges: list[Merge] = []
    for word in ("a", "cat", "dog", "photo", "of", "the", "in", "ktn"):
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (parts[0], parts[1]) not in merges:
                merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
    return merges


def true_size(family: str) -> dict[str, Any]:
    """A family's own configurations, by part."""
    found = {p.parent.name: p for p in sorted((CONFIGS / family).glob("*/*config.json"))}
    parts = {part: json.loads(path.read_text()) for part, path in found.items()}
    for part in ("unet", "vae"):
        del parts[part]["_class_name"]
    for part in parts:
        if part.startswith("tokenizer"):
            del parts[part]["tokenizer_class"]
    return parts


def _tiny_text(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 24,
        **more,
    }


_TINY: dict[str, Any] = {
    "tokenizer": {"model_max_length": 24},
    "text_encoder": _tiny_text(64, layers=2, heads=4),
    "vae": {
        "block_out_channels": (8, 16),
        "latent_channels": 4,
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "sample_size": 32,
        "scaling_factor": 0.5,
    },
    "unet": {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 64,
    },
    "scheduler": {
        "_class_name": "DDIMScheduler",
        "clip_sample": False,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
        "set_alpha_to_one": False,
    },
}


def _small(family: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """A family's topology at a tiny width: every key of its configurations that is not a size."""
    parts = true_size(family)
    for part, config in parts.items():
        if part.startswith("tokenizer"):
            config["model_max_length"] = 24
        for name in [n for n in config if n.endswith("_token_id")]:
            del config[name]
    sizes = {"vae": _TINY["vae"], "unet": {"sample_size": 16, "norm_num_groups": 8}} | changes
    for part, change in sizes.items():
        parts[part] |= change
    return parts


_SD15 = true_size("sd1")
_SIZES = {
    "tiny": _TINY,
    "tiny-sd1": _small(
        "sd1",
        text_encoder=_tiny_text(64, layers=2, heads=4),
        unet={
            "sample_size": 16,
            "norm_num_groups": 8,
            "block_out_channels": (16, 16, 32, 32),
            "attention_head_dim": 4,
            "cross_attention_dim": 64,
        },
    ),
    "tiny-sd2": _small(
        "sd2-v",
        text_encoder=_tiny_text(80, layers=3, heads=5, projection_dim=64),
        unet={
            "sample_size": 16,
            "norm_num_groups": 8,
            "block_out_channels": (16, 32, 48, 48),
            "attention_head_dim": (2, 4, 6, 6),
            "cross_attention_dim": 80,
        },
    ),
    "tiny-sdxl": _small(
        "sdxl",
        text_encoder=_tiny_text(32, layers=3, heads=4, projection_dim=32),
        # eos_token_id 2 is what the published encoder says of itself.
        text_encoder_2=_tiny_text(48, layers=4, heads=6, projection_dim=40, eos_token_id=2),
        unet={
            "sample_size": 16,
            "norm_num_groups": 8,
            "block_out_channels": (16, 32, 48),
            "attention_head_dim": (2, 4, 6),
            "cross_attention_dim": 80,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 88,
        },
    ),
    "sd15": _SD15,
    "sd2": true_size("sd2-v"),
    "sdxl": true_size("sdxl"),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(_SIZES), default="sd15")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    print(write_base(arguments.out, arguments.size, dtype=arguments.dtype))
