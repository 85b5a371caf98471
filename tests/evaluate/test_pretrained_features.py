"""CLIP and DINOv2 with random weights (conftest.py) against transformers' own outputs."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTokenizer, Dinov2Model

from textreg.errors import UserError
from textreg.evaluate.features import AttributeReader, TextSide
from textreg.evaluate.pretrained_features import ClipFeatures, Dinov2Features


def pictures(width: int, height: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for _ in range(2)
    ]


def normalised(images: list[Image.Image]) -> torch.Tensor:
    """Pictures that need no resizing, as preprocessor_config.json asks for them."""
    arrays = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return (torch.tensor(arrays).float() / 255 - 0.5) / 0.25


def test_clip_is_transformers_clip(clip_folder: Path) -> None:
    ours = ClipFeatures(clip_folder)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
    images, prompts = pictures(16, 16), ["a photo of a cat", "a dog"]
    ids = tokenizer(
        prompts, padding="max_length", max_length=model.config.text_config.max_position_embeddings,
        truncation=True, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        whole = model(**ids, pixel_values=normalised(images))
    torch.testing.assert_close(ours.features(images), whole.image_embeds)
    torch.testing.assert_close(ours.text_features(prompts), whole.text_embeds)
    assert isinstance(ours, TextSide)
    assert not isinstance(ours, AttributeReader)


def test_dinov2_is_the_class_token(dinov2_folder: Path) -> None:
    ours = Dinov2Features(dinov2_folder)
    images = pictures(32, 40)
    # The short side is 32 already, so only the middle is cut out.
    cut = [image.crop((2, 6, 30, 34)) for image in images]
    with torch.no_grad():
        token = Dinov2Model.from_pretrained(dinov2_folder).eval()(normalised(cut)).pooler_output
    torch.testing.assert_close(
        ours.features(images), torch.nn.functional.normalize(token, dim=1), rtol=1e-4, atol=1e-5
    )
    assert not isinstance(ours, TextSide)


def test_the_hash_pins_weights_and_preprocessing(dinov2_folder: Path, tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    for name in names:
        (tmp_path / name).write_bytes((dinov2_folder / name).read_bytes())
    same = Dinov2Features(tmp_path).digest
    assert same == Dinov2Features(dinov2_folder).digest
    weights = bytearray((tmp_path / names[1]).read_bytes())
    weights[-1] ^= 1
    (tmp_path / names[1]).write_bytes(weights)
    other = Dinov2Features(tmp_path).digest
    (tmp_path / names[2]).write_text(json.dumps({"size": 64}))
    assert len({same, other, Dinov2Features(tmp_path).digest}) == 3


def test_folders_that_do_not_fit(dinov2_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a dinov2, not a clip"):
        ClipFeatures(dinov2_folder)
    with pytest.raises(UserError, match=r"no config\.json there"):
        ClipFeatures(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"only \.bin \(pickle\) weights, which are never loaded"):
        ClipFeatures(tmp_path)
    with pytest.raises(UserError, match=r"^--device gpu: no such device here"):
        Dinov2Features(dinov2_folder, "gpu")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "more.json")


def link(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(folder.parent / "elsewhere.safetensors")
    weights.symlink_to(folder.parent / "elsewhere.safetensors")


def shards_below(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "model.safetensors").rename(folder / "below" / "model.safetensors")
    (folder / "other.safetensors").write_bytes(b"")
    index = {"weight_map": {"w": "below/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def holds(name: str, content: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        given = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(given | content if isinstance(content, dict) else content))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pipe, r"more\.json: is a pipe or a device"),
        (link, r"model\.safetensors: is a link out of its folder"),
        (shards_below, r"names the shard 'below/model\.safetensors', which is not beside it"),
        (holds("config.json", {"auto_map": {"AutoModel": "evil.M"}}), r"names code .*auto_map"),
        (holds("adapter_config.json", {"peft_type": "LORA"}), "would load another model"),
        (holds("config.json", []), r"config\.json: not a JSON object"),
        (holds("preprocessor_config.json", []), r"preprocessor_config\.json: not a JSON object"),
        (holds("preprocessor_config.json", {"size": "large"}), r"its size is 'large'; it must be"),
        (holds("preprocessor_config.json", {"image_std": 1}), r"its image_std is 1; it must be"),
    ],
)
def test_unsafe_and_malformed_folders(
    dinov2_folder: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """As a base's: one line, before a library opens anything."""
    folder = shutil.copytree(dinov2_folder, tmp_path / "copy")
    spoil(folder)
    with pytest.raises(UserError, match=message) as refusal:
        Dinov2Features(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (("tokenizer.json", "vocab.json", "merges.txt"), r"has no tokenizer; it needs"),
        (("tokenizer.json", "merges.txt"), r"has no tokenizer; it needs"),
    ],
)
def test_clip_without_its_tokenizer(
    clip_folder: Path, tmp_path: Path, gone: tuple[str, ...], message: str
) -> None:
    """transformers takes it for a vocabulary of two, and every prompt for the same."""
    folder = shutil.copytree(clip_folder, tmp_path / "clip", ignore=shutil.ignore_patterns(*gone))
    with pytest.raises(UserError, match=message):
        ClipFeatures(folder)


def test_clip_with_anothers_tokenizer(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(folder)
    count = len(tokenizer)
    with pytest.raises(UserError, match=rf"has {count} tokens, its model {count - 1}"):
        ClipFeatures(folder)


@pytest.mark.parametrize("kind", [ClipFeatures, Dinov2Features])
def test_weights_that_are_missing_are_not_made_up(
    kind: type[ClipFeatures | Dinov2Features],
    clip_folder: Path,
    dinov2_folder: Path,
    tmp_path: Path,
) -> None:
    """Said when the folder is named, before a picture is drawn."""
    source = clip_folder if kind is ClipFeatures else dinov2_folder
    folder = shutil.copytree(source, tmp_path / "copy")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    gone = sorted(name for name in tensors if "encoder.layer" in name)[:2]
    rest = {name: tensor for name, tensor in tensors.items() if name not in gone}
    save_file(rest, weights, {"format": "pt"})
    with pytest.raises(UserError) as error:
        kind(folder)
    # The library may have another name for it.
    assert re.fullmatch(
        rf"{re.escape(str(folder))}: its weights lack \S*layers?\.0\S+, and 1 more",
        str(error.value),
    )
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="cannot be loaded: "):
        kind(folder)


def test_weights_of_a_larger_model_are_found(dinov2_folder: Path, tmp_path: Path) -> None:
    """As a classifier's folder has them; nothing is loaded before the first picture."""
    folder = shutil.copytree(dinov2_folder, tmp_path / "copy")
    weights = folder / "model.safetensors"
    tensors = {f"dinov2.{name}": tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    images, found = pictures(32, 40), Dinov2Features(folder)
    assert "_model" not in vars(found)
    assert torch.equal(found.features(images), Dinov2Features(dinov2_folder).features(images))


@pytest.mark.parametrize(
    "given", [None, {"size": {"shortest_edge": 16}}, {"crop_size": 16}, {"size": 20}]
)
def test_clip_takes_its_side_from_the_model_where_nothing_says_it(
    clip_folder: Path, tmp_path: Path, given: dict[str, Any] | None
) -> None:
    """Its pictures here are of 16 pixels, and any other number would end in a traceback."""
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    (folder / "preprocessor_config.json").unlink()
    if given is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(given))
    assert ClipFeatures(folder).features(pictures(20, 24)).shape == (2, 8)


def test_a_crop_that_cannot_be(clip_folder: Path, dinov2_folder: Path, tmp_path: Path) -> None:
    clip, dino = (
        shutil.copytree(source, tmp_path / source.name) for source in (clip_folder, dinov2_folder)
    )
    (clip / "preprocessor_config.json").write_text('{"size": 32, "crop_size": 32}')
    with pytest.raises(UserError, match=r"crops to 32 pixels, its model reads 16"):
        ClipFeatures(clip)
    (dino / "preprocessor_config.json").write_text('{"size": 32, "crop_size": 40}')
    with pytest.raises(UserError, match=r"its crop of 40 pixels is larger than its size, 32"):
        Dinov2Features(dino)
    (dino / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 200}}')
    assert Dinov2Features(dino)._preprocessing["crop"] == 200
