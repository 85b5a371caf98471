"""Our encoder call against transformers' own, and what the identifier's mask lets through."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from textreg.method.identifier import add_identifier
from textreg.method.text_features import Tokens, encode_tokens, tokenize

PROMPTS = ["", "a photo of a cat", "the dog in the cat", "a " * 40]
NEVER, ALWAYS = torch.zeros(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return CLIPTokenizer.from_pretrained(tiny_base / "tokenizer")


@pytest.fixture(params=["eager", "sdpa"])
def encoder(tiny_base: Path, request: pytest.FixtureRequest) -> Any:
    model = CLIPTextModel.from_pretrained(
        tiny_base / "text_encoder", dtype=torch.float64, attn_implementation=request.param
    )
    return model.eval().requires_grad_(False)


@pytest.fixture
def vector() -> Tensor:
    return torch.randn(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def learn_word(tokenizer: Any, noun: str = "cat") -> int:
    return add_identifier(tokenizer, "<krk1>", noun)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_prompts_without_identifier_are_exactly_the_plain_models(
    encoder: Any, tokenizer: Any, masked: bool, dtype: torch.dtype
) -> None:
    encoder = encoder.to(dtype)
    tokens = tokenize(tokenizer, PROMPTS, learn_word(tokenizer), "cat")
    ours = encode_tokens(encoder, tokens, None, torch.full((len(PROMPTS),), masked))
    plain = encoder(input_ids=tokens.ids).last_hidden_state
    assert torch.equal(ours, plain)


def test_unmasked_identifier_is_a_plain_new_row_of_the_table(
    encoder: Any, tokenizer: Any, vector: Tensor
) -> None:
    tokens = tokenize(tokenizer, ["a <krk1> cat in the dog"], learn_word(tokenizer), "cat")
    ours = encode_tokens(encoder, tokens, vector[None], NEVER)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    encoder.get_input_embeddings().weight[-1] = vector
    assert int(tokens.ids.max()) == len(tokenizer) - 1
    plain = encoder(input_ids=tokens.ids).last_hidden_state
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-14)


def test_masked_identifier_reads_nothing_before_it(
    encoder: Any, tokenizer: Any, vector: Tensor
) -> None:
    prompts = ["a photo <krk1> cat", "the dog <krk1> cat"]
    tokens = tokenize(tokenizer, prompts, learn_word(tokenizer), "cat")
    both = vector.expand(2, -1)
    masked = encode_tokens(encoder, tokens, both, ALWAYS.expand(2))[:, 3]
    plain = encode_tokens(encoder, tokens, both, NEVER.expand(2))[:, 3]
    torch.testing.assert_close(masked[0], masked[1], rtol=0, atol=1e-14)
    assert (plain[0] - plain[1]).norm() > 1e-3


def test_mask_decides_what_the_words_vector_reaches(
    encoder: Any, tokenizer: Any, vector: Tensor
) -> None:
    """Rows before the identifier never read it; with the mask, one layer reaches the noun only."""
    encoder.encoder.layers = encoder.encoder.layers[:1]
    tokens = tokenize(tokenizer, ["a <krk1> cat in the dog"], learn_word(tokenizer), "cat")

    def moved(masked: Tensor) -> list[bool]:
        here = encode_tokens(encoder, tokens, vector[None], masked)[0]
        there = encode_tokens(encoder, tokens, -vector[None], masked)[0]
        return ((here - there).abs().amax(-1) > 1e-9).tolist()

    assert moved(ALWAYS) == [False, False, True, True] + 20 * [False]
    assert moved(NEVER) == [False, False] + 22 * [True]


def test_a_batch_is_each_sample_alone(encoder: Any, tokenizer: Any, vector: Tensor) -> None:
    prompts = ["a <krk1> cat in", "<krk1> cat", "a dog", "the cat of a <krk1> cat", "a <krk1> dog"]
    new_id = learn_word(tokenizer)
    masked = torch.tensor([True, False, True, True, True])
    vectors = torch.stack([(n + 1) * vector for n in range(5)])
    together = encode_tokens(encoder, tokenize(tokenizer, prompts, new_id, "cat"), vectors, masked)
    for n, prompt in enumerate(prompts):
        tokens = tokenize(tokenizer, [prompt], new_id, "cat")
        alone = encode_tokens(encoder, tokens, vectors[n : n + 1], masked[n : n + 1])
        torch.testing.assert_close(together[n], alone[0], rtol=0, atol=1e-13)


def test_gradient_reaches_the_vector_alone(encoder: Any, tokenizer: Any, vector: Tensor) -> None:
    tokens = tokenize(tokenizer, ["a <krk1> cat"], learn_word(tokenizer), "cat")
    vector.requires_grad_(True)
    encode_tokens(encoder, tokens, vector[None], ALWAYS).square().sum().backward()
    assert vector.grad is not None
    assert vector.grad.norm() > 0
    assert all(p.grad is None for p in encoder.parameters())


def facts(tokens: Tokens) -> list[tuple[list[int], bool]]:
    """Where the identifier is in each prompt, and whether it can be masked."""
    return [
        (row.nonzero().flatten().tolist(), bool(can))
        for row, can in zip(tokens.is_identifier, tokens.can_mask, strict=True)
    ]


def test_where_the_identifier_is_and_whether_it_can_be_masked(tokenizer: Any) -> None:
    noun = "tub cat"  # four tokens: t u b</w> cat</w>
    prompts = {
        "a <krk1> tub cat in": ([2], True),
        "<krk1> tub cat": ([1], True),
        "a <KRK1> tub cat": ([2], True),
        "a photo of a cat": ([], False),
        "a tub cat <krk1>": ([6], False),
        "a <krk1> cat": ([2], False),
        "a <krk1> tub dog": ([2], False),
        "<krk1> tub cat the <krk1> tub cat": ([1, 7], True),
        "<krk1> tub cat the <krk1>": ([1, 7], False),
    }
    new_id = add_identifier(tokenizer, "<krk1>", noun)
    tokens = tokenize(tokenizer, list(prompts), new_id, noun)
    assert tokens.noun_length.tolist() == [4] * len(tokens.ids)
    assert facts(tokens) == list(prompts.values())


def test_noun_cut_off_at_the_models_length_stays_causal(tokenizer: Any) -> None:
    tokens = tokenize(tokenizer, ["a " * 21 + "<krk1> cat"], learn_word(tokenizer), "cat")
    assert facts(tokens) == [([22], False)]


@pytest.mark.parametrize("prompt", ["a " * 22 + "<krk1> cat", "<krk1> cat " * 12])
def test_identifier_cut_off_is_refused(tokenizer: Any, prompt: str) -> None:
    with pytest.raises(ValueError, match=r"24 tokens.*'<krk1>' is cut off"):
        tokenize(tokenizer, [prompt], learn_word(tokenizer), "cat")


@pytest.mark.parametrize("prompt", ["a photo of a cat", "a hota cat", "a thot cat", "A PHOTO"])
def test_identifier_inside_another_word_is_refused(tokenizer: Any, prompt: str) -> None:
    new_id = add_identifier(tokenizer, "hot", "cat")
    assert facts(tokenize(tokenizer, ["a hot cat, hot"], new_id, "cat")) == [([2, 5], False)]
    with pytest.raises(ValueError, match="'hot' is part of another word"):
        tokenize(tokenizer, [prompt], new_id, "cat")
