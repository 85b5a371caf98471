"""Faults 24 and 25: a hostile base folder is refused in one line before any library opens it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textreg.base_screen import screen
from textreg.errors import UserError


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "base")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as refusal:
        screen(folder)
    assert "\n" not in str(refusal.value)


def add(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


CODE: dict[str, Any] = {
    "auto_map": {"AutoModel": "evil.Model"},
    "_attn_implementation_internal": "stranger/kernel",
    "_experts_implementation_internal": "stranger/kernel",
    "attn_implementation": "stranger/kernel:attention",
    "custom_pipeline": "stranger/pipeline",
    "trust_remote_code": True,
}


@pytest.mark.parametrize("key", CODE)
@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "unet/config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize(
    "around", [lambda x: x, lambda x: {"text_config": x}, lambda x: {"a": [{"b": [x]}]}]
)
def test_code_named_anywhere_in_any_settings_file(
    base: Path, key: str, file: str, around: Callable[[Any], dict[str, Any]]
) -> None:
    add(base / file, around({key: CODE[key]}))
    refused(base, rf"names code to run \({key}\)")


def test_code_named_by_a_linked_file(base: Path) -> None:
    config = base / "unet" / "config.json"
    config.rename(base / "unet" / "real.txt")
    add(base / "unet" / "real.txt", {"auto_map": {"AutoModel": "evil.Model"}})
    config.symlink_to("real.txt")
    refused(base, r"names code to run \(auto_map\)")


def test_a_part_that_is_code_in_the_folder(base: Path) -> None:
    add(base / "model_index.json", {"unet": ["my_unet", "UNet2DConditionModel"]})
    refused(base, "its unet comes from my_unet; refused")


def test_a_part_that_names_another_model(base: Path) -> None:
    (base / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "/x"}')
    refused(base, "would load another model")


def test_quantised_weights(base: Path) -> None:
    add(base / "unet" / "config.json", {"quantization_config": {"quant_method": "x"}})
    refused(base, "quantised weights are not supported")


def test_a_plain_attention_setting_is_none_of_this(base: Path) -> None:
    add(base / "text_encoder" / "config.json", {"_attn_implementation": "eager"})
    screen(base)


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "unet/config.json", "tokenizer/vocab.json", "vae/model.safetensors"],
)
def test_a_pipe_or_a_device_never_blocks(base: Path, name: str) -> None:
    (base / name).unlink(missing_ok=True)
    os.mkfifo(base / name)
    refused(base, "is not a plain file|is a pipe or a device")
    (base / name).unlink()
    (base / name).symlink_to("/dev/zero")
    refused(base, "is not a plain file|is a link out of")


@pytest.mark.parametrize("target", ["outside/w.safetensors", "../outside/w.safetensors", "loop"])
def test_weights_that_are_a_link_out_of_the_folder(base: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    weights = next((base / "unet").glob("*.safetensors"))
    weights.rename(tmp_path / "outside" / "w.safetensors")
    weights.symlink_to(tmp_path / target if target != "loop" else weights.name)
    refused(base, "is a link out of its folder|is a dead link")


def test_a_part_that_is_a_link_out_of_the_folder(base: Path, tmp_path: Path) -> None:
    (base / "unet").rename(tmp_path / "unet")
    (base / "unet").symlink_to(tmp_path / "unet")
    refused(base, "is a link out of its folder")


def test_a_hub_cache_of_links_passes(tiny_base: Path, tmp_path: Path) -> None:
    """models--owner--name/snapshots/REVISION/unet/x -> ../../../blobs/HASH."""
    blobs = tmp_path / "models--o--n" / "blobs"
    snapshot = tmp_path / "models--o--n" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in tiny_base.rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(tiny_base)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / f"{number:064x}")
        up = "../" * (len(link.relative_to(snapshot).parts) + 1)
        link.symlink_to(f"{up}blobs/{number:064x}")
    screen(snapshot)
    (tmp_path / "linked").symlink_to(snapshot)
    screen(tmp_path / "linked")
    shutil.copy(tiny_base / "model_index.json", tmp_path / "foreign")
    (snapshot / "model_index.json").unlink()
    (snapshot / "model_index.json").symlink_to(tmp_path / "foreign")
    refused(snapshot, "is a link out of its folder")


@pytest.mark.parametrize(
    ("weight_map", "match"),
    [
        (["a.safetensors"], "does not name one file a tensor"),
        ("a.safetensors", "does not name one file a tensor"),
        (None, "does not name one file a tensor"),
        ({"w": 7}, "does not name one file a tensor"),
        ({"w": ["a.safetensors"]}, "does not name one file a tensor"),
        ({"w": "../a.safetensors"}, "is not beside it"),
        ({"w": "a\0.safetensors"}, "is not beside it"),
        ({"w": "a\n\x1b[2J.safetensors"}, "is not beside it"),
        ({"w": "x" * 5000}, "is not beside it"),
    ],
)
def test_an_index_of_another_form(base: Path, weight_map: Any, match: str) -> None:
    index = base / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    refused(base, match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ('{"a":' * 60 + "1" + "}" * 60, "nested more than 32 levels"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "not JSON"),
        ('{"hidden_size": ' + "9" * 400 + "}", "no setting is so large"),
        ('{"sizes": [1, ' + "9" * 30 + "]}", "no setting is so large"),
        ("\xff\xfe", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a JSON object"),
    ],
)
def test_json_that_is_no_settings(base: Path, text: str, match: str) -> None:
    (base / "text_encoder" / "config.json").write_text(text, encoding="latin-1")
    refused(base, match)


def test_a_file_of_settings_as_large_as_a_model(base: Path) -> None:
    with (base / "unet" / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    refused(base, "has more than")
