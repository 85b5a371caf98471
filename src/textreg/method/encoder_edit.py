"""Low-rank edits of the text encoders' own attention: y = W x + b + s B_n A_n x.

Queries, keys, values and outputs of every layer, for N concepts in one batch; AttentionEdit holds
the factors. Nothing of an encoder is replaced: hooks on its projections add the edit while a batch
with one is encoded, and are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from textreg.method.attention_edit import Edited, Shapes

ENCODERS = ("text_encoder", "text_encoder_2")
"""As diffusers calls them; the second is Stable Diffusion XL's."""
_PROJECTIONS = ("k_proj", "v_proj", "q_proj", "out_proj")
"""In the order in which a layer holds them."""


def encoder_shapes(sizes: Sequence[tuple[int, int]]) -> Shapes:
    """(o, i) of every projection by name, whatever version of transformers names the modules.

    Args:
        sizes: (layers, width) of each text encoder.
    """
    return {
        f"{encoder}.text_model.encoder.layers.{layer}.self_attn.{projection}": (width, width)
        for encoder, (layers, width) in zip(ENCODERS, sizes, strict=False)
        for layer in range(layers)
        for projection in _PROJECTIONS
    }


def of_text_encoder(name: str) -> bool:
    """Whether a projection is a text encoder's; the others are the denoiser's."""
    return name.startswith(ENCODERS)


def text_names(names: Iterable[str]) -> list[str]:
    """Those of some projections that are a text encoder's."""
    return [name for name in names if of_text_encoder(name)]


@contextmanager
def edited(encoders: Sequence[Any], edit: Edited | None) -> Generator[None]:
    """What is encoded within has the edit; the rows of a batch belong to its concepts in order.

    Args:
        encoders: transformers' text models, one or both.
        edit: none: they are the base's.
    """
    hooks = [] if edit is None else [_hook(m, name, edit) for name, m in _modules(encoders)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _modules(encoders: Sequence[Any]) -> Iterable[tuple[str, nn.Module]]:
    for name, encoder in zip(ENCODERS, encoders, strict=False):
        # transformers < 5.6 keeps the parts one level down.
        layers = getattr(encoder, "text_model", encoder).encoder.layers
        for number, layer in enumerate(layers):
            place = f"{name}.text_model.encoder.layers.{number}.self_attn"
            for projection in _PROJECTIONS:
                yield f"{place}.{projection}", getattr(layer.self_attn, projection)


def _hook(module: nn.Module, name: str, edit: Edited) -> Any:
    def add(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
        return edit(name, given[0], result)

    # Before the hooks of others, who want to see what the layer goes on with.
    return module.register_forward_hook(add, prepend=True)
