"""A checkpoint that is one .safetensors file, with the keys of the original programs (LDM).

Which family it is stands in its keys; sizes and schedule are the family's (base_configs). diffusers
renames the denoiser and the VAE, text_encoder_keys.py the text encoder. The file's header is
checked before one tensor is made of it, and nothing but tensors is ever read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from textreg.adapter.safe_header import pickle_advice, read_header
from textreg.errors import UserError
from textreg.families import FAMILIES, other_channels
from textreg.file_kinds import shown
from textreg.regular_file import read_regular
from textreg.text_encoder_keys import from_hugging_face, from_open_clip
from textreg.yaml_file import MOST_YAML, parse

_MOST_FILE = 1 << 36
"""Bytes; the largest, Stable Diffusion XL in fp32 with a second set of weights, has 20 billion."""
_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_SUFFIX = ".safetensors"
_CHANNELS = 4
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_V = {"v": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}
_XL = "conditioner.embedders."
_OPEN_CLIP, _HUGGING_FACE = "cond_stage_model.model.", "cond_stage_model.transformer."
_TEXT_ENCODERS = {
    "sd1": {"text_encoder": _HUGGING_FACE},
    "sd2": {"text_encoder": _OPEN_CLIP},
    "sd2-v": {"text_encoder": _OPEN_CLIP},
    "sdxl": {"text_encoder": f"{_XL}0.transformer.", "text_encoder_2": f"{_XL}1.model."},
}
"""Where each family keeps its text encoders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One file with all weights of a base."""

    path: Path
    family: str
    """Its configurations' folder in base_configs."""
    keys: tuple[str, ...] = field(repr=False)
    schedule: dict[str, Any]
    """What it says of its noise schedule beyond the family's."""

    def load(self, configs: Path, part: str, kind: str, dtype: torch.dtype) -> Any:
        """A part's model.

        Args:
            configs: the family's configurations.
            part: its folder there.
            kind: its class.
            dtype: to load it in.

        Raises:
            UserError: weights are missing or of another size than the family's.
        """
        if part.startswith("text_encoder"):
            model, missing = self._text_encoder(configs / part, part, kind, dtype)
        else:
            model, missing = self._picture_part(configs / part, part, kind, dtype)
        if missing:
            raise UserError(
                f"{self.path}: its {part} lacks {missing[0]}, and {len(missing) - 1} more"
            )
        return model

    def _picture_part(
        self, config: Path, part: str, kind: str, dtype: torch.dtype
    ) -> tuple[Any, list[str]]:
        """The denoiser or the VAE, and the names of weights that it did not get."""
        import diffusers
        from diffusers.loaders import single_file_utils

        model_class = getattr(diffusers, kind)
        sizes = model_class.load_config(config, local_files_only=True)
        with torch.device("meta"):
            model = model_class.from_config(sizes)
        if part == "unet":
            rename, prefix = single_file_utils.convert_ldm_unet_checkpoint, _UNET
        else:
            rename, prefix = single_file_utils.convert_ldm_vae_checkpoint, _VAE
        weights: dict[str, Tensor] = rename(self._tensors(prefix), config=sizes)
        self._refuse_other_sizes(part, weights, model.state_dict())
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        missing, _ = model.load_state_dict(weights, strict=False, assign=True)
        return model, missing

    def _refuse_other_sizes(
        self, part: str, found: dict[str, Tensor], wanted: dict[str, Tensor]
    ) -> None:
        for name in found.keys() & wanted.keys():
            if found[name].shape != wanted[name].shape:
                raise UserError(
                    f"{self.path}: its {part} is not that of {self.family}: {name} has the shape "
                    f"{list(found[name].shape)} in place of {list(wanted[name].shape)}"
                )

    def _text_encoder(
        self, config: Path, part: str, kind: str, dtype: torch.dtype
    ) -> tuple[Any, list[str]]:
        """A text encoder, and the names of weights that it did not get."""
        import transformers

        prefix = _TEXT_ENCODERS[self.family][part]
        sizes = transformers.CLIPTextConfig.from_pretrained(config, local_files_only=True)
        rename = from_hugging_face if prefix.endswith("transformer.") else from_open_clip
        tensors = {key.removeprefix(prefix): t for key, t in self._tensors(prefix).items()}
        with torch.device("meta"):
            empty = getattr(transformers, kind)(sizes)
        # transformers < 5.6, and the encoder with a projection, keep the rest one level down.
        inner = "text_model." if hasattr(empty, "text_model") else ""
        weights = rename(tensors, sizes.num_hidden_layers, inner)
        self._refuse_other_sizes(part, weights, empty.state_dict())
        model, report = type(empty).from_pretrained(
            None, config=sizes, state_dict=weights, dtype=dtype, output_loading_info=True
        )
        return model, sorted(report["missing_keys"])

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part, read where they lie in the file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in self.keys if key.startswith(prefix)}
        except SafetensorError as error:
            raise UserError(f"{self.path}: cannot be read ({shown(str(error))})") from None


def recognise(path: Path) -> Checkpoint:
    """Say which family a checkpoint is of, by its header alone.

    Raises:
        UserError: it is a pickle, damaged, no base, or of an unsupported family.
    """
    if path.suffix.lower() in _PICKLES:
        raise UserError(f"{path}: {pickle_advice('a pickle')}")
    if path.suffix.lower() != _SUFFIX:
        raise UserError(
            f"{path}: is a file, but no {_SUFFIX} checkpoint; --base takes one, a diffusers folder "
            "or a hub id"
        )
    header, metadata = read_header(path, most_file=_MOST_FILE)
    keys = tuple(header)
    family = _family(path, keys)
    shape = header.get(f"{_UNET}input_blocks.0.0.weight", {}).get("shape", ())
    if len(shape) == 4 and shape[1] != _CHANNELS:
        raise UserError(f"{path}: {other_channels(shape[1], _CHANNELS)}")
    schedule: dict[str, Any] = {}
    predicts = _prediction_type(path, metadata)
    if family == "sd2":
        if predicts is None:
            raise UserError(
                f"{path}: a Stable Diffusion 2 checkpoint does not say whether it predicts noise "
                f"or velocity; put {path.stem}.yaml beside it, with the line `parameterization: v` "
                "(768-pixel models) or `parameterization: epsilon` (512-pixel models)"
            )
        family = "sd2-v" if predicts == "v_prediction" else "sd2"
    elif predicts is not None:
        schedule["prediction_type"] = predicts
    return Checkpoint(path=path, family=family, keys=keys, schedule=schedule)


def _family(path: Path, keys: tuple[str, ...]) -> str:
    def has(prefix: str) -> bool:
        return any(key.startswith(prefix) for key in keys)

    if any("lora" in key for key in keys):
        raise UserError(f"{path}: is a LoRA, not a base; textreg import takes it")
    if not has(_UNET):
        raise UserError(
            f"{path}: has no {_UNET}* weights, so it is no Stable Diffusion checkpoint; a part of "
            "a diffusers folder is loaded by the folder"
        )
    if not has(_VAE):
        raise UserError(f"{path}: has no VAE ({_VAE}*); use a checkpoint that has one")
    if all(has(prefix) for prefix in _TEXT_ENCODERS["sdxl"].values()):
        return "sdxl"
    if has(_OPEN_CLIP):
        return "sd2"
    if has(_HUGGING_FACE):
        return "sd1"
    raise UserError(f"{path}: has no text encoder of {FAMILIES}, which are what is supported")


def _prediction_type(path: Path, metadata: dict[str, str]) -> str | None:
    """What the file, or the .yaml beside it that web interfaces want, says that it predicts.

    Raises:
        UserError: it says something else than noise or velocity.
    """
    said, where = metadata.get("modelspec.prediction_type"), path
    beside = path.with_suffix(".yaml")
    if said is None and beside.is_file():
        where = beside
        try:
            content = parse(read_regular(beside, most=MOST_YAML))
        except yaml.YAMLError as error:
            raise UserError(f"{beside}: cannot be read as YAML ({error})") from None
        said = _parameterization(content)
    if said is None:
        return None
    if said not in _V:
        raise UserError(f"{where}: predicts {shown(said)!r}; v and epsilon are supported")
    return _V[said]


def _parameterization(content: Any) -> str:
    """The original programs' key, at their place or at the top; where it is missing it is noise."""
    model = content.get("model") if isinstance(content, dict) else None
    params = model.get("params") if isinstance(model, dict) else None
    for place in (content, params):
        if isinstance(place, dict) and "parameterization" in place:
            return str(place["parameterization"])
    return "epsilon"
