r"""What the identifier means in the text encoder, and where else it is heard (METHOD 3, 10).

    text-text drift   cos(e("a photo of a <krk1> cat"), e("a photo of a cat")), e the row of the
                      end token, in which CLIP gathers a prompt's meaning
    leakage           ||c_later(v) - c_later(u)|| / ||c_later(v)||, rows behind identifier and noun
                      up to the end token, v the identifier's vector, u that of another word
    attention         what share of their attention those rows give to the identifier, mean over
                      layers and heads

Leakage and attention are measured as at inference, without the mask, and as in a masked step of
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textreg.method.identifier_mask import identifier_mask
from textreg.method.text_features import Tokens
from textreg.randomness import generator
from textreg.sampling import PictureModel

_OTHER_WORDS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Leakage:
    """How far the identifier reaches into later rows; one number a prompt."""

    change: list[float]
    """Relative change of the later rows when another word stands in its place."""
    attention: list[float]
    """Share of the later rows' attention that it gets."""


@torch.no_grad()
def text_drift(model: PictureModel, with_word: Sequence[str], without: Sequence[str]) -> Tensor:
    """Cosine of the end token's row, prompt by prompt, [prompts]; 1: the word adds nothing."""
    ends: list[Tensor] = []
    for prompts in (with_word, without):
        tokens = model.tokens(prompts)
        features = _features(model, tokens, _vector(model), masked=False)
        rows = torch.arange(len(features), device=features.device)
        ends.append(features[rows, _end(model, tokens).to(features.device)])
    return torch.nn.functional.cosine_similarity(*ends, dim=-1).cpu()


@torch.no_grad()
def leakage(model: PictureModel, prompts: Sequence[str], *, masked: bool, seed: int) -> Leakage:
    """How far the identifier reaches into the rows behind its noun.

    Args:
        model: with a concept.
        prompts: with the identifier, its noun behind it, and words behind that.
        masked: apply the identifier mask, as training does in a share of its samples.
        seed: of the other words.
    """
    tokens = model.tokens(prompts)
    later = _later_rows(model, tokens).to(model.backbone.device)
    own = _features(model, tokens, _vector(model), masked)
    changes: list[Tensor] = []
    for other in _other_words(model, seed):
        swapped = _features(model, tokens, other, masked)
        # All later rows of a prompt as one vector.
        moved = ((swapped - own).square().sum(-1) * later).sum(1)
        changes.append((moved / (own.square().sum(-1) * later).sum(1)).sqrt())
    return Leakage(
        change=torch.stack(changes).mean(0).tolist(),
        attention=_attention(model, tokens, later, masked).tolist(),
    )


def _vector(model: PictureModel) -> Tensor:
    assert model.adapter is not None
    return model.adapter.vector.to(model.backbone.device, model.backbone.wide)


def _other_words(model: PictureModel, seed: int) -> Tensor:
    tables = model.backbone.word_tables
    assert model.adapter is not None
    count = (_OTHER_WORDS * model.adapter.num_vectors,)
    rows = torch.randint(len(tables[0]), count, generator=generator(seed, "other-words"))
    vectors = torch.cat([table[rows.to(table.device)] for table in tables], dim=1)
    return vectors.reshape(_OTHER_WORDS, -1)


def _features(model: PictureModel, tokens: Tokens, vector: Tensor, masked: bool) -> Tensor:
    count = len(tokens.ids)
    mask = torch.full((count,), masked)
    return model.encode(tokens, vector.expand(count, -1), mask).tokens


def _end(model: PictureModel, tokens: Tokens) -> Tensor:
    """Position of the first end token, [prompts]."""
    return (tokens.ids == model.backbone.tokenizer.eos_token_id).int().argmax(1)


def _later_rows(model: PictureModel, tokens: Tokens) -> Tensor:
    """Behind identifier and noun, up to the end token, [prompts, tokens]."""
    position = torch.arange(tokens.ids.shape[1])
    last = tokens.is_identifier.int().argmax(1) + tokens.vectors - 1 + tokens.noun_length
    return (position > last[:, None]) & (position <= _end(model, tokens)[:, None])


def _attention(model: PictureModel, tokens: Tokens, later: Tensor, masked: bool) -> Tensor:
    """Attention of the later rows to the identifier, from each layer's queries and keys."""
    encoders = model.backbone.text_encoders
    layers = [x for e in encoders for x in getattr(e, "text_model", e).encoder.layers]
    heard: list[tuple[Tensor, Tensor]] = []
    queries: list[Tensor] = []

    def keep_query(module: Any, given: Any, query: Tensor) -> None:
        queries.append(query)

    def keep_key(module: Any, given: Any, key: Tensor) -> None:
        heard.append((queries.pop(), key))

    hooks = [layer.self_attn.q_proj.register_forward_hook(keep_query) for layer in layers]
    hooks += [layer.self_attn.k_proj.register_forward_hook(keep_key) for layer in layers]
    try:
        _features(model, tokens, _vector(model), masked)
    finally:
        for hook in hooks:
            hook.remove()
    device = later.device
    where = tokens.is_identifier.to(device)
    hidden = torch.full((len(where),), masked, device=device) & tokens.can_mask.to(device)
    mask = identifier_mask(where, tokens.noun_length, hidden, model.backbone.wide, tokens.vectors)
    shares: list[Tensor] = []
    for layer, (query, key) in zip(layers, heard, strict=True):
        heads = layer.self_attn.num_heads
        q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
        weights = (q @ k.mT * q.shape[-1] ** -0.5 + mask).softmax(-1)
        to_identifier = (weights * where[:, None, None, :]).sum(-1).mean(1)
        shares.append((to_identifier * later).sum(1) / later.sum(1))
    return torch.stack(shares).mean(0).cpu()
