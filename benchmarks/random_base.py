"""Write a Stable Diffusion folder with random weights: Stable Diffusion 1.5's size, or a tiny one.

    python benchmarks/random_base.py --size sd15 --out models/random-sd15

The weights mean nothing; the architecture, the files and the sizes are the true ones. The sd15
vocabulary is CLIP's own, read from the installed open_clip_torch package.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch


def write_base(folder: Path, size: str = "tiny", *, seed: int = 0, dtype: str = "float32") -> Path:
    """Write the folder and return it."""
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        vocabulary, merges = clip_vocabulary() if size == "sd15" else tiny_vocabulary()
        config = _SIZES[size]
        tokenizer = CLIPTokenizer(
            vocab=vocabulary, merges=merges, model_max_length=config["text"]["tokens"]
        )
        tokenizer.save_pretrained(folder / "tokenizer")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=config["text"]["width"],
                intermediate_size=4 * config["text"]["width"],
                num_hidden_layers=config["text"]["layers"],
                num_attention_heads=config["text"]["heads"],
                max_position_embeddings=config["text"]["tokens"],
                bos_token_id=vocabulary["<|startoftext|>"],
                eos_token_id=vocabulary["<|endoftext|>"],
                pad_token_id=vocabulary["<|endoftext|>"],
            )
        )
        text.save_pretrained(folder / "text_encoder")
        AutoencoderKL(**config["vae"]).save_pretrained(folder / "vae")
        UNet2DConditionModel(**config["unet"]).save_pretrained(folder / "unet")
    finally:
        torch.set_default_dtype(kept)
    noise = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    scheduler = (
        PNDMScheduler(skip_prk_steps=True, **noise)
        if size == "sd15"
        else DDIMScheduler(clip_sample=False, **noise)
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + n) for n, _ in enumerate(others)]


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    symbols = _byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: n for n, token in enumerate(tokens)}


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's 49,408 tokens, in which `ktn` is 42170."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("needs CLIP's vocabulary: pip install --no-deps open_clip_torch")
    path = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [(a, b) for a, b in (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])]
    return _vocabulary(merges), merges


def tiny_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Bytes and a few whole words."""
    merges: list[tuple[str, str]] = []
    for word in ("a", "cat", "dog", "photo", "of", "the", "in", "ktn"):
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (parts[0], parts[1]) not in merges:
                merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
    return _vocabulary(merges), merges


_TINY: dict[str, Any] = {
    "text": {"tokens": 24, "width": 64, "layers": 2, "heads": 4},
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
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 64,
    },
}
_SD15: dict[str, Any] = {
    "text": {"tokens": 77, "width": 768, "layers": 12, "heads": 12},
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "latent_channels": 4,
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "sample_size": 512,
        "scaling_factor": 0.18215,
    },
    "unet": {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        "cross_attention_dim": 768,
    },
}
_SIZES = {"tiny": _TINY, "sd15": _SD15}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(_SIZES), default="sd15")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    print(write_base(arguments.out, arguments.size, dtype=arguments.dtype))
