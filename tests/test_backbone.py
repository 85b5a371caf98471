"""A base is checked before any library opens it, and frozen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textreg import backbone as backbone_module
from textreg.backbone import Backbone, load
from textreg.base_files import BaseFiles, find
from textreg.base_screen import screen
from textreg.errors import UserError


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    """A base to spoil."""
    return shutil.copytree(tiny_base, tmp_path / "base")


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_everything_is_frozen_and_in_evaluation_mode(backbone: Backbone) -> None:
    for part in (backbone.text_encoder, backbone.vae, backbone.denoiser.unet):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
    assert not list(backbone.projections.parameters())
    assert backbone.resolution == 32
    assert backbone.factor == 2
    assert backbone.prediction_type == "epsilon"


def test_loading_draws_no_bar_over_ours(
    tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    load(str(tiny_base))
    assert logging.is_progress_bar_enabled()
    if not shown:
        logging.disable_progress_bar()
    assert capsys.readouterr().err == ""


def test_float64_is_float64_everywhere(backbone64: Backbone) -> None:
    for part in (backbone64.text_encoder, backbone64.vae, backbone64.denoiser):
        assert {p.dtype for p in part.parameters()} == {torch.float64}
    assert backbone64.wide == torch.float64


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="says where memory lies")
def test_no_weight_of_the_denoiser_lies_in_its_file(tiny_base: Path) -> None:
    """One would keep the whole file in memory, beside what was laid out anew."""
    backbone = load(str(tiny_base), device="cpu", dtype="fp32")  # as it is saved
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if str(tiny_base / "unet") in line]
    mapped = [range(int(first, 16), int(last, 16)) for first, last in ends]
    weights = [p.data_ptr() for p in backbone.denoiser.parameters()]
    assert not any(place in pages for place in weights for pages in mapped)


def test_keys_and_values_have_weights_in_one_place(backbone: Backbone) -> None:
    named = dict(backbone.denoiser.unet.named_parameters())
    empty = [name.removesuffix(".weight") for name, p in named.items() if not p.numel()]
    assert empty == list(backbone.projections.names)
    rows = [name.removesuffix(".weight") for name in named if "attn1.to_k" in name]
    assert rows
    assert not set(rows) & set(empty)


def test_half_precision_is_the_denoisers_alone(tiny_base: Path) -> None:
    backbone = load(str(tiny_base), device="cpu", dtype="bf16")
    assert {p.dtype for p in backbone.denoiser.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in backbone.text_encoder.parameters()} == {torch.float32}
    assert {p.dtype for p in backbone.vae.parameters()} == {torch.float32}
    assert backbone.wide == torch.float32


def test_the_noise_schedule_lies_on_the_device(backbone: Backbone) -> None:
    """A step reads it as it is; "meta" stands in for a GPU."""
    scheduler = backbone_module._scheduler(backbone.files, torch.device("meta"))
    assert scheduler.alphas_cumprod.device.type == "meta"
    assert backbone.alphas_cumprod is backbone.scheduler.alphas_cumprod


def test_products_in_float32_are_float32(backbone: Backbone) -> None:
    """Class prompts are held by cancellation: three digits of a product would not hold them."""
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("supported", [True, False])
def test_emulated_precision_is_said(
    tiny_base: Path,
    supported: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(backbone_module._SUPPORTED, "bf16", lambda: supported)
    load(str(tiny_base), device="cpu", dtype="bf16")
    told = "textreg: this processor has no bf16; it is emulated, many times slower than fp32\n"
    assert capsys.readouterr().err == ("" if supported else told)


def test_the_noise_schedule_is_the_bases(backbone: Backbone) -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    wanted = (1 - betas).cumprod(0)
    torch.testing.assert_close(backbone.alphas_cumprod.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_another_kind_of_part_is_refused(copy: Path, part: str) -> None:
    edit_json(copy / "model_index.json", lambda data: data.update({part: ["x", "Other"]}))
    with pytest.raises(UserError, match=f"its {part} is Other, not"):
        screen(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_a_missing_part_is_named(copy: Path, part: str) -> None:
    shutil.rmtree(copy / part)
    with pytest.raises(UserError, match=f"the folder {part} is missing"):
        screen(copy)


def test_code_in_a_configuration_is_refused(copy: Path) -> None:
    edit_json(copy / "unet" / "config.json", lambda data: data.update(auto_map={"x": "evil.py"}))
    with pytest.raises(UserError, match=r"config\.json: names code to run \(auto_map\)"):
        load(str(copy))


def test_pickled_weights_are_refused(copy: Path) -> None:
    for path in (copy / "unet").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(UserError, match=r"only \.bin \(pickle\) weights"):
        screen(copy)


@pytest.mark.parametrize("shard", ["../other.safetensors", "/etc/passwd", "missing.safetensors"])
def test_shards_outside_the_folder_are_refused(copy: Path, shard: str) -> None:
    index = copy / "unet" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": shard}}))
    with pytest.raises(UserError, match="which is not beside it"):
        screen(copy)


def test_parts_that_do_not_belong_together_are_refused(copy: Path) -> None:
    edit_json(copy / "model_index.json", lambda data: data.update(unet=None))
    with pytest.raises(UserError, match="its unet is None"):
        load(str(copy))
    (copy / "model_index.json").write_text("[]")
    with pytest.raises(UserError, match="not a JSON object"):
        load(str(copy))
    (copy / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        load(str(copy))


def test_what_is_no_base_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"is a file, but no \.safetensors checkpoint"):
        BaseFiles.of(str(tmp_path / "file"))
    with pytest.raises(UserError, match="neither a folder or a checkpoint, nor a hub id"):
        find("no base at all")
    with pytest.raises(UserError, match="nobody/nothing"):
        find("nobody/nothing")  # offline: never waits for the network
