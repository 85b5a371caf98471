"""CLIP and DINOv2 with random weights, built from configurations: no download."""

import json
from pathlib import Path

import pytest
import torch

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture(scope="session")
def clip_folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("features") / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")
    tokenizer.save_pretrained(folder)
    eos = tokenizer.eos_token_id
    text = SMALL | {"num_attention_heads": 2, "vocab_size": len(tokenizer), "eos_token_id": eos}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": eos}
    vision = SMALL | {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(
        folder
    )
    given = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}} | HALF
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return folder


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("features") / "dinov2"
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    given = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}} | HALF
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return folder
