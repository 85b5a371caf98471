"""A checkpoint in one file is the folder it was written from, bit for bit; others are refused."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from ldm_checkpoint import ldm_tensors, write_checkpoint
from random_base import tiny_merges
from safetensors.torch import save_file
from transformers import CLIPTextConfig

import textreg.base_files
from textreg.backbone import Backbone, load
from textreg.base_configs import CONFIGS, clip_merges, vocabulary
from textreg.base_files import BaseFiles, model_class
from textreg.base_shape import BaseShape
from textreg.errors import UserError

pytestmark = pytest.mark.thorough

FAMILY_OF = {"tiny-sd1": "sd1", "tiny-sd2": "sd2-v", "tiny-sdxl": "sdxl"}
SAYS_V = {"modelspec.prediction_type": "v"}


@pytest.fixture
def own_configs(
    family: str,
    base_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The package's configurations replaced by those of the tiny bases; the network by an error."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a checkpoint needs no network")

    configs = tmp_path / "configs"
    configs.mkdir()
    for size, name in FAMILY_OF.items():
        (configs / name).symlink_to(base_of(size))
    monkeypatch.setattr(textreg.base_files, "CONFIGS", configs)
    monkeypatch.setattr(textreg.base_files, "clip_merges", tiny_merges)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return configs


def parts(backbone: Backbone) -> dict[str, dict[str, torch.Tensor]]:
    modules: dict[str, Any] = {"unet": backbone.denoiser.unet, "vae": backbone.vae}
    modules |= {f"text {n}": encoder for n, encoder in enumerate(backbone.text_encoders)}
    return {name: dict(module.state_dict()) for name, module in modules.items()}


def test_a_checkpoint_is_the_folder(
    family: str, base_of: Callable[[str], Path], own_configs: Path, tmp_path: Path
) -> None:
    folder = base_of(family)
    file = write_checkpoint(folder, tmp_path / "model.safetensors", metadata=_says(family))
    ours, theirs = (load(str(source), device="cpu") for source in (file, folder))
    ours_parts = parts(ours)
    for name, tensors in parts(theirs).items():
        assert ours_parts[name].keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert torch.equal(ours_parts[name][key], tensor), key
    assert ours.prediction_type == theirs.prediction_type
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert (ours.resolution, ours.factor) == (theirs.resolution, theirs.factor)
    for text in ("a photo of a cat!", "", "the dog in ktn 7"):
        encoded = [
            b.tokenizer(text, padding="max_length", truncation=True).input_ids
            for b in (ours, theirs)
        ]
        assert encoded[0] == encoded[1]
    shapes = [BaseShape.of(str(source)) for source in (file, folder)]
    assert shapes[0].projections.names == shapes[1].projections.names
    assert shapes[0].resolution == shapes[1].resolution


def _says(family: str) -> dict[str, str]:
    return SAYS_V if family == "tiny-sd2" else {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_as_what_they_hold(
    dtype: torch.dtype, base_of: Callable[[str], Path], tmp_path: Path, monkeypatch: Any
) -> None:
    folder = base_of("tiny-sd1")
    monkeypatch.setattr(textreg.base_files, "CONFIGS", tmp_path)
    monkeypatch.setattr(textreg.base_files, "clip_merges", tiny_merges)
    (tmp_path / "sd1").symlink_to(folder)
    file = write_checkpoint(folder, tmp_path / "half.safetensors", dtype=dtype)
    ours, theirs = (load(str(source), device="cpu") for source in (file, folder))
    ours_parts = parts(ours)
    for name, tensors in parts(theirs).items():
        for key, tensor in tensors.items():
            found = ours_parts[name][key]
            assert found.dtype == torch.float32
            assert torch.equal(found, tensor.to(dtype).float() if key[-3:] != "ids" else tensor)


def test_what_the_yaml_beside_it_says_counts(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    file = write_checkpoint(base_of("tiny-sd2"), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"put model\.yaml beside it.*parameterization: v"):
        BaseFiles.of(str(file))
    for text, family in (
        ("parameterization: v", "sd2-v"),
        ("model: {target: x, params: {parameterization: v}}", "sd2-v"),
        ("model: {target: x, params: {linear_start: 0.1}}", "sd2"),
        ("parameterization: epsilon", "sd2"),
        ("model: [params]", "sd2"),
    ):
        file.with_suffix(".yaml").write_text(text)
        files = BaseFiles.of(str(file))
        assert files.folder == CONFIGS / family
        assert files.scheduler()["prediction_type"] == (
            "v_prediction" if family == "sd2-v" else "epsilon"
        )
    file.with_suffix(".yaml").write_text("parameterization: x0")
    with pytest.raises(UserError, match=r"model\.yaml: predicts 'x0'; v and epsilon"):
        BaseFiles.of(str(file))


def test_a_stable_diffusion_1_that_predicts_velocity_says_so(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    file = write_checkpoint(base_of("tiny-sd1"), tmp_path / "m.safetensors", metadata=SAYS_V)
    assert BaseFiles.of(str(file)).scheduler()["prediction_type"] == "v_prediction"


def _without(prefix: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith(prefix)]:
            del tensors[key]

    return drop


def _add_lora(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lora_unet_mid.lora_up.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_without("model.diffusion_model."), "so it is no Stable Diffusion checkpoint"),
        (_without("first_stage_model."), "has no VAE"),
        (_without("cond_stage_model."), "has no text encoder of Stable Diffusion"),
        (_add_lora, "is a LoRA, not a base"),
    ],
)
def test_what_is_no_whole_base_is_refused_by_its_header(
    base_of: Callable[[str], Path], tmp_path: Path, change: Any, why: str
) -> None:
    tensors = ldm_tensors(base_of("tiny-sd1"))
    change(tensors)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=why):
        BaseFiles.of(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("model.diffusion_model.input_blocks.1.1.proj_in.weight", "unet"),
        ("first_stage_model.decoder.conv_in.bias", "vae"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "text_encoder"),
    ],
)
@pytest.mark.parametrize("family", ["tiny-sd1"])
def test_a_missing_or_foreign_tensor_is_named(
    base_of: Callable[[str], Path], own_configs: Path, tmp_path: Path, key: str, part: str
) -> None:
    tensors = ldm_tensors(base_of("tiny-sd1"))
    whole = tensors[key]
    file = tmp_path / "m.safetensors"
    del tensors[key]
    save_file(tensors, file)
    with pytest.raises(UserError, match=rf"its {part} lacks .*{key[-4:]}"):
        load(str(file), device="cpu")
    tensors[key] = torch.cat([whole, whole])
    save_file(tensors, file)
    with pytest.raises(UserError, match=f"its {part} is not that of sd1"):
        load(str(file), device="cpu")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_a_pickle_is_refused_by_name_and_by_content(tmp_path: Path, suffix: str) -> None:
    for name in (f"model{suffix}", "model.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(99))
        with pytest.raises(UserError, match=r"a pickle.*can run code.*never loaded"):
            BaseFiles.of(str(tmp_path / name))


def test_a_header_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    text = json.dumps(
        {"model.diffusion_model.x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    ).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(UserError, match=r"x' has the shape \[1099511627776\]"):
        BaseFiles.of(str(file))


def test_an_inpainting_checkpoint_is_refused(
    base_of: Callable[[str], Path], tmp_path: Path
) -> None:
    tensors = ldm_tensors(base_of("tiny-sd1"))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[first] = torch.zeros(16, 9, 3, 3)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"reads 9 channels.*inpainting"):
        BaseFiles.of(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("sd1", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
        ("sd2", {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}),
        ("sd2-v", {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}),
        (
            "sdxl",
            {
                "unet": 2_567_463_684,
                "vae": 83_653_863,
                "text_encoder": 123_060_480,
                "text_encoder_2": 694_659_840,
            },
        ),
    ],
)
def test_the_packaged_configurations_have_the_published_sizes(
    family: str, counts: dict[str, int]
) -> None:
    """Parameters of the published models, part by part."""
    for part, count in counts.items():
        with torch.device("meta"):
            if part == "unet":
                config = UNet2DConditionModel.load_config(CONFIGS / family / part)
                model: Any = UNet2DConditionModel.from_config(config)
            elif part == "vae":
                model = AutoencoderKL.from_config(
                    AutoencoderKL.load_config(CONFIGS / family / part)
                )
            else:
                sizes = CLIPTextConfig.from_pretrained(CONFIGS / family / part)
                (kind,) = json.loads((CONFIGS / family / part / "config.json").read_text())[
                    "architectures"
                ]
                model = model_class(kind)(sizes)
        assert sum(p.numel() for p in model.parameters()) == count, part


def test_the_packaged_vocabulary_is_clips() -> None:
    tokens = vocabulary(clip_merges())
    assert len(tokens) == 49408
    assert {t: tokens[t] for t in ("!", "a</w>", "cat</w>", "ktn", "<|endoftext|>")} == {
        "!": 0,
        "a</w>": 320,
        "cat</w>": 2368,
        "ktn": 42170,
        "<|endoftext|>": 49407,
    }
