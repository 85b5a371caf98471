"""Folders as users have them: halves, other precisions in the names, shards."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from textreg.backbone import Backbone, load
from textreg.errors import UserError

pytestmark = pytest.mark.thorough

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@pytest.fixture
def copy(base_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base to write in another form."""
    return shutil.copytree(base_of("tiny-sd2"), tmp_path / "base")


def equal(one: Backbone, other: Backbone, dtype: torch.dtype) -> None:
    """Every weight of the one is the other's rounded to a type."""
    modules = ((b.denoiser.unet, b.vae, b.text_encoder) for b in (one, other))
    for ours, theirs in zip(*modules, strict=True):
        found, wanted = ours.state_dict(), theirs.state_dict()
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            if tensor.is_floating_point():
                assert found[name].dtype == tensor.dtype == torch.float32
                assert torch.equal(found[name], tensor.to(dtype).float()), name


@pytest.mark.parametrize(
    ("dtype", "in_the_name"),
    [
        (torch.float16, True),
        (torch.bfloat16, False),
        pytest.param(torch.float16, False, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, True, marks=pytest.mark.slow),
    ],
)
def test_half_precision_files(
    copy: Path, base_of: Callable[[str], Path], dtype: torch.dtype, in_the_name: bool
) -> None:
    """As they are saved with torch_dtype, and with variant="fp16"."""
    variant = {torch.float16: ".fp16", torch.bfloat16: ".bf16"}[dtype] if in_the_name else ""
    for part, name in WEIGHTS.items():
        file = copy / part / f"{name}.safetensors"
        half = {key: tensor.to(dtype) for key, tensor in load_file(file).items()}
        file.unlink()
        save_file(half, copy / part / f"{name}{variant}.safetensors", {"format": "pt"})
    base = load(str(base_of("tiny-sd2")), device="cpu")
    equal(load(str(copy), device="cpu"), base, dtype)


def _shard(folder: Path, name: str) -> Path:
    """Cut a weight file in two and write its index."""
    file = folder / f"{name}.safetensors"
    tensors = load_file(file)
    file.unlink()
    keys = sorted(tensors)
    shards = {f"{name}-{n + 1:05}-of-00002.safetensors": keys[n::2] for n in range(2)}
    for shard, own in shards.items():
        save_file({key: tensors[key] for key in own}, folder / shard, {"format": "pt"})
    index = folder / f"{name}.safetensors.index.json"
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    where = {key: shard for shard, own in shards.items() for key in own}
    index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    return index


def test_shards_are_the_whole(copy: Path, base_of: Callable[[str], Path]) -> None:
    for part, name in WEIGHTS.items():
        _shard(copy / part, name)
    equal(
        load(str(copy), device="cpu"),
        load(str(base_of("tiny-sd2")), device="cpu"),
        torch.float32,
    )


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_weight_that_no_file_has_is_named(copy: Path, part: str) -> None:
    """Libraries would put random numbers in its place."""
    file = copy / part / f"{WEIGHTS[part]}.safetensors"
    tensors = load_file(file)
    gone = sorted(tensors)[0]
    del tensors[gone]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(UserError, match=rf"{part}: {gone} is missing, and 0 more"):
        load(str(copy), device="cpu")
