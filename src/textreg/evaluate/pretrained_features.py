"""CLIP and DINOv2 as feature extractors, from a local folder that the user names.

    clip:FOLDER     cosine of projected picture and text embeddings (CLIP-I, CLIP-T)
    dinov2:FOLDER   cosine of final class tokens

Pictures are resized by Pillow (bicubic, antialiased), cropped and normalised as the folder's
preprocessor_config.json says.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from textreg.backbone import device_of
from textreg.base_screen import read_json, screen_files, screen_settings, screen_weights
from textreg.errors import UserError
from textreg.evaluate.features import pixel_tensor
from textreg.evaluate.store import files_digest
from textreg.file_kinds import shown
from textreg.library_bars import without_library_bars
from textreg.out_of_memory import shortage

_AT_ONCE = 32
# What each was trained with, for a folder that does not say.
_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_DINOV2 = {"size": 256, "crop": 224, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class _Folder:
    """A transformers folder: checked at once, loaded when first asked."""

    side: int | None = None
    _kind: str
    """transformers' class of the model."""
    _preprocessing: dict[str, Any]
    """As `_preprocessing`."""

    def __init__(self, name: str, folder: Path, device: str):
        """Check and hash the folder.

        Raises:
            UserError: it is missing, unsafe, of another model, or without all of its safetensors
                weights; or there is no such device.
        """
        self.name, self._folder, self._device = name, folder, device_of(device)
        what = f"--features {name}:{folder}"
        # A pipe or a link to nowhere is there; the screen says what it is.
        if not os.path.lexists(folder / "config.json"):
            raise UserError(f"{what}: no config.json there; give a transformers folder")
        screen_files(folder)
        kind = read_json(folder / "config.json").get("model_type")
        if kind != name:
            raise UserError(f"{what}: is a {shown(str(kind))}, not a {name}")
        for path in sorted(folder.glob("*.json")):
            screen_settings(path)
        screen_weights(folder)
        weights = sorted(folder.glob("*.safetensors"))
        self.digest = files_digest([*weights, *folder.glob("*.json"), *folder.glob("*.txt")])
        if self._may_lack(weights):
            _ = self._model  # refused, or not, before anything slow

    @cached_property
    @without_library_bars()
    def _model(self) -> Any:
        """The model, every weight of it from the folder.

        Raises:
            UserError: it cannot be loaded, or some weight is missing.
        """
        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        with self._one_line():
            model, report = self._class().from_pretrained(
                self._folder, dtype=torch.float32, output_loading_info=True, **options
            )
        # transformers fills what is missing with random numbers.
        if missing := sorted(report["missing_keys"]):
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(f"{self._folder}: its weights lack {missing[0]}{more}")
        return model.to(self._device).eval().requires_grad_(False)

    def _class(self) -> Any:
        import transformers

        return getattr(transformers, self._kind)

    def _may_lack(self, weights: Sequence[Path]) -> bool:
        """Whether the files' headers have no tensor of some parameter's shape left.

        Names would not do: transformers renames what it reads.
        """
        kind = self._class()
        found: Counter[tuple[int, ...]] = Counter()
        with self._one_line(), torch.device("meta"):
            config = kind.config_class.from_pretrained(self._folder, local_files_only=True)
            wanted = Counter(tuple(p.shape) for p in kind(config).parameters())
            for path in weights:
                with safe_open(path, framework="pt") as file:
                    found.update(tuple(file.get_slice(n).get_shape()) for n in file.keys())  # noqa: SIM118
        return not wanted <= found

    @contextmanager
    def _one_line(self) -> Generator[None]:
        """What the libraries find wrong with the folder, as a UserError."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            if shortage(error) is not None:
                raise
            first = str(error).strip().splitlines()[0]
            raise UserError(f"{self._folder}: cannot be loaded: {first}") from error

    def _pixels(self, images: Sequence[Image.Image]) -> Tensor:
        size, crop = self._preprocessing["size"], self._preprocessing["crop"]
        mean, std = (torch.tensor(self._preprocessing[k]) for k in ("mean", "std"))
        pixels = pixel_tensor([_resized(image, size, crop) for image in images])
        return ((pixels - mean[:, None, None]) / std[:, None, None]).to(self._device)


class ClipFeatures(_Folder):
    """CLIP: pictures and prompts in one space."""

    _kind = "CLIPModel"

    def __init__(self, folder: Path, device: str = "cpu"):
        """As any folder, with its tokenizer.

        Raises:
            UserError: also where there is no tokenizer, or another model's; or pictures are
                cropped to a side that the model does not read.
        """
        super().__init__("clip", folder, device)
        files = {path.name for path in folder.iterdir()}
        # Without them transformers would make a vocabulary of two tokens, and all prompts alike.
        if not ({"tokenizer.json"} <= files or {"vocab.json", "merges.txt"} <= files):
            raise UserError(
                f"--features clip:{folder}: has no tokenizer; it needs tokenizer.json, or "
                "vocab.json and merges.txt"
            )
        with self._one_line():
            config = self._class().config_class.from_pretrained(folder, local_files_only=True)
            found, wanted = len(self._tokenizer), config.text_config.vocab_size
        if found != wanted:
            raise UserError(
                f"--features clip:{folder}: its tokenizer has {found} tokens, its model {wanted}: "
                "one of them is another CLIP's"
            )
        side = config.vision_config.image_size
        self._preprocessing = _preprocessing(folder, _CLIP | {"size": side, "crop": side})
        if (crop := self._preprocessing["crop"]) != side:
            raise UserError(
                f"--features clip:{folder}: its preprocessor_config.json crops to {crop} pixels, "
                f"its model reads {side}"
            )

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(self._folder, local_files_only=True)

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """Projected picture embeddings, unit length, [n, d]."""
        model = self._model
        parts = [
            model.visual_projection(
                model.vision_model(pixel_values=self._pixels(part)).pooler_output
            )
            for part in _parts(images)
        ]
        return functional.normalize(torch.cat(parts), dim=1).cpu()

    @torch.no_grad()
    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """Projected text embeddings, unit length, [n, d]."""
        model, parts = self._model, []
        length = model.config.text_config.max_position_embeddings
        for part in _parts(prompts):
            encoded = self._tokenizer(
                list(part),
                padding="max_length",
                truncation=True,
                max_length=length,
                return_tensors="pt",
            ).to(self._device)
            parts.append(model.text_projection(model.text_model(**encoded).pooler_output))
        return functional.normalize(torch.cat(parts), dim=1).cpu()


class Dinov2Features(_Folder):
    """DINOv2: pictures alone."""

    _kind = "Dinov2Model"

    def __init__(self, folder: Path, device: str = "cpu"):
        super().__init__("dinov2", folder, device)
        self._preprocessing = _preprocessing(folder, _DINOV2)

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """Final class tokens, unit length, [n, d]."""
        parts = [
            self._model(pixel_values=self._pixels(part)).last_hidden_state[:, 0]
            for part in _parts(images)
        ]
        return functional.normalize(torch.cat(parts), dim=1).cpu()


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


def _resized(image: Image.Image, size: int, crop: int) -> Image.Image:
    """The short side to `size`, then the middle square of `crop`."""
    short = min(image.size)
    width, height = (round(side * size / short) for side in image.size)
    image = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - crop) // 2, (height - crop) // 2
    return image.crop((left, top, left + crop, top + crop))


def _preprocessing(folder: Path, defaults: dict[str, Any]) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return defaults
    config = read_json(path)
    size = config.get("size", defaults["size"])
    size = size.get("shortest_edge", size.get("height")) if isinstance(size, dict) else size
    # A default must not be larger than the picture it is cut from.
    crop = config.get("crop_size", min(defaults["crop"], size) if isinstance(size, int) else 0)
    found: dict[str, Any] = {
        "size": size,
        "crop": crop.get("height") if isinstance(crop, dict) else crop,
        "mean": config.get("image_mean", defaults["mean"]),
        "std": config.get("image_std", defaults["std"]),
    }
    for key in ("size", "crop"):
        if not (isinstance(found[key], int) and found[key] > 0):
            raise UserError(f"{path}: its {key} is {found[key]!r}; it must be a side in pixels")
    if found["crop"] > found["size"]:
        raise UserError(
            f"{path}: its crop of {found['crop']} pixels is larger than its size, {found['size']}"
        )
    for key in ("mean", "std"):
        given = found[key]
        numbers = isinstance(given, list | tuple) and all(isinstance(x, int | float) for x in given)
        if not (numbers and len(given) == 3):
            raise UserError(f"{path}: its image_{key} is {given!r}; it must be three numbers")
    return found
