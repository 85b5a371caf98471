"""A base model, loaded and frozen."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from textreg.base_files import BaseFiles
from textreg.errors import UserError
from textreg.method.attention_edit import Edited
from textreg.method.denoiser import Denoiser, freeze
from textreg.method.encoder_edit import edited
from textreg.method.encoder_pair import EncoderPair
from textreg.method.recorded_passes import RecordedPasses
from textreg.method.text_features import TextFeatures, Tokens, encode_tokens
from textreg.method.text_projections import TextProjections, drop_text_weights
from textreg.method.weights_together import lay_together
from textreg.out_of_memory import memory_of, shortage

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}

_SUPPORTED = {
    "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
    "fp16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
}
"""Whether the processor itself computes in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen Stable Diffusion.

    The denoiser is in the run's precision; the text encoder, the VAE and the gathered key and value
    projections are in float32 or wider.
    """

    source: str
    files: BaseFiles
    tokenizer: Any
    text_encoder: Any
    pair: EncoderPair | None = None
    """Both text encoders of a family that has two; `text_encoder` is the first."""
    vae: Any
    denoiser: Denoiser
    projections: TextProjections
    scheduler: Any
    device: torch.device
    recorded_text: RecordedPasses | None = None
    """Of the one text encoder, where it is on a CPU."""
    plain: dict[str, tuple[Tensor, Tensor]] = field(
        default_factory=dict[str, tuple[Tensor, Tensor]], repr=False, compare=False
    )
    """What text_shift.py has read of prompts without an identifier, which no concept changes."""

    def encode(
        self,
        tokens: Tokens,
        vectors: Tensor | None,
        masked: Tensor,
        edit: Edited | None = None,
    ) -> TextFeatures:
        """Text features of tokenised prompts.

        Args:
            tokens: the prompts.
            vectors: the identifier's of each, one after the other, [prompts, vectors * d];
                none: no identifier.
            masked: which are masked where they can be, [prompts] bool.
            edit: of the text encoders; none: they are the base's.
        """
        with edited(self.text_encoders, edit):
            if self.pair is not None:
                return self.pair.encode(tokens, vectors, masked)
            recorded = self.recorded_text if edit is None else None
            found = encode_tokens(self.text_encoder, tokens, vectors, masked, recorded)
            return TextFeatures(tokens=found)

    @property
    def word_tables(self) -> list[Tensor]:
        """Embedding rows of each text encoder; a word's vector is one row of each, side by side."""
        return [e.get_input_embeddings().weight for e in self.text_encoders]

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """One, or both."""
        return (self.text_encoder,) if self.pair is None else self.pair.encoders

    @property
    def second_width(self) -> int:
        """Width of a word in the second text encoder; 0: there is one encoder."""
        return 0 if self.pair is None else self.word_tables[1].shape[1]

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts: "epsilon" or "v_prediction"."""
        return self.scheduler.config.prediction_type

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """a_t of every training timestep."""
        return self.scheduler.alphas_cumprod.to(self.device)

    @property
    def factor(self) -> int:
        """Pixels a latent."""
        return self.denoiser.pixels

    @property
    def resolution(self) -> int:
        """The base's own picture side in pixels."""
        return int(self.denoiser.unet.config.sample_size) * self.factor

    @property
    def wide(self) -> torch.dtype:
        """The type of everything that is not the denoiser: float32, or float64."""
        return self.projections.weight.dtype


@memory_of("loading the base", "--dtype bf16 or fp16")
def load(
    source: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> Backbone:
    """Load and freeze a base model.

    Args:
        source: embedded name, diffusers folder, .safetensors checkpoint, or hub id.
        revision: of a hub id.
        device: "auto" takes a GPU if there is one.
        dtype: precision of the denoiser; "auto": bf16 on a GPU, fp32 on a CPU.

    Raises:
        UserError: no such base, not of a supported family, or a part is missing or unsafe.
    """
    files = BaseFiles.of(source, revision)
    place = device_of(device)
    if dtype == "auto":
        dtype = "bf16" if place.type == "cuda" else "fp32"
    if place.type == "cpu" and dtype in _SUPPORTED and not _SUPPORTED[dtype]():
        print(
            f"textreg: this processor has no {dtype}; it is emulated, many times slower than fp32",
            file=sys.stderr,
        )
    wide = torch.float64 if dtype == "fp64" else torch.float32
    unet = files.load("unet", DTYPES[dtype]).to(place)
    vae = files.load("vae", wide).to(place)
    text_encoder = files.load("text_encoder", wide).to(place)
    tokenizer = files.tokenizer()
    pair = _pair(files, tokenizer, freeze(text_encoder), wide)
    encoders = (text_encoder,) if pair is None else pair.encoders
    sizes = [(e.config.num_hidden_layers, e.config.hidden_size) for e in encoders]
    projections = TextProjections.from_denoiser(unet, wide, sizes)
    width = sum(width for _, width in sizes)
    if projections.features != width:
        raise UserError(
            f"{source}: the text encoder gives {width} features and the "
            f"denoiser reads {projections.features}: these parts do not belong together"
        )
    drop_text_weights(unet)
    denoiser = Denoiser(freeze(unet), 2 ** (len(vae.config.block_out_channels) - 1))
    if place.type == "cpu":
        for module in (denoiser, *encoders):
            lay_together(module)
    return Backbone(
        source=source,
        files=files,
        tokenizer=tokenizer,
        text_encoder=freeze(text_encoder),
        pair=pair,
        vae=freeze(vae),
        denoiser=denoiser,
        projections=projections.to(place),
        scheduler=_scheduler(files, place),
        device=place,
        recorded_text=RecordedPasses("the text encoder") if place.type == "cpu" else None,
    )


def _pair(files: BaseFiles, tokenizer: Any, first: Any, dtype: torch.dtype) -> EncoderPair | None:
    """Both text encoders, if the family has two; one tokenizer serves them.

    Raises:
        UserError: the second tokenizer has other words, or the denoiser is told other things.
    """
    if "text_encoder_2" not in files.parts:
        return None
    other = files.tokenizer("tokenizer_2")
    if other.get_vocab() != tokenizer.get_vocab() or (
        other.model_max_length != tokenizer.model_max_length
    ):
        raise UserError(
            f"{files.folder}: its tokenizer and tokenizer_2 read text differently; not supported"
        )
    second = files.load("text_encoder_2", dtype).to(first.device)
    unet = files.config("unet")
    told = 6 * unet["addition_time_embed_dim"] + second.config.projection_dim
    if unet["projection_class_embeddings_input_dim"] != told:
        raise UserError(
            f"{files.folder}: its denoiser is not told six sizes and the pooled vector, as Stable "
            "Diffusion XL's is; is it a refiner?"
        )
    return EncoderPair(
        encoders=(first, freeze(second)),
        padding=(tokenizer.pad_token_id, other.pad_token_id),
        end=tokenizer.eos_token_id,
    )


def fresh_tokenizer(backbone: Backbone) -> Any:
    """A tokenizer of one's own, to add identifiers to."""
    return backbone.files.tokenizer()


def _scheduler(files: BaseFiles, device: torch.device) -> Any:
    """A DDIM scheduler over the base's own noise schedule: for training only a_t is read."""
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler.from_config(files.scheduler())
    # Read at each step: moved there once.
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(device)
    return scheduler


def device_of(name: str) -> torch.device:
    """The device that a name means; "auto" takes a GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if _has_gpu() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and not _has_gpu():
            raise UserError(f"--device {name}: this machine shows no CUDA device; use --device cpu")
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if shortage(error) is not None:
            raise
        raise UserError(
            f"--device {name}: no such device here; use auto, cpu, cuda, or one card like cuda:1"
        ) from None
    return device


def _has_gpu() -> bool:
    return torch.cuda.is_available()
