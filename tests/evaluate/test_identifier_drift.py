from dataclasses import replace

import pytest
import torch
from transformers import CLIPTextModel

from textreg.adapter import Adapter
from textreg.backbone import Backbone
from textreg.evaluate.identifier_drift import _later_rows, leakage, text_drift
from textreg.sampling import PictureModel

PROMPTS = ["a photo of a <krk1> cat in the photo", "the <krk1> cat of a dog"]


@pytest.fixture(scope="module")
def model(backbone64: Backbone) -> PictureModel:
    projections = backbone64.projections
    random = torch.Generator().manual_seed(1)
    return PictureModel(
        backbone64,
        Adapter(
            identifier="<krk1>",
            noun="cat",
            learnable_property="object",
            vector=torch.randn(projections.features, generator=random),
            factors={
                name: (torch.zeros(1, projections.features), torch.zeros(width, 1))
                for name, width in zip(projections.names, projections.widths, strict=True)
            },
            alpha=1.0,
        ),
    )


def test_attention_is_what_the_encoder_itself_reports(model: PictureModel) -> None:
    """Against transformers' own attention weights, the identifier's vector written in its table."""
    tokens = model.tokens(PROMPTS)
    encoder = CLIPTextModel.from_pretrained(
        model.backbone.files.folder / "text_encoder",
        attn_implementation="eager",
        dtype=torch.float64,
    )
    encoder.resize_token_embeddings(int(tokens.ids.max()) + 1, mean_resizing=False)
    assert model.adapter is not None
    with torch.no_grad():
        encoder.get_input_embeddings().weight[tokens.ids[tokens.is_identifier]] = (
            model.adapter.vector.double()
        )
        layers = encoder(input_ids=tokens.ids, output_attentions=True).attentions
    expected = []
    for n, row in enumerate(tokens.ids.tolist()):
        at = row.index(int(tokens.ids[tokens.is_identifier][0]))
        end = row.index(model.backbone.tokenizer.eos_token_id)
        later = range(at + int(tokens.noun_length[n]) + 1, end + 1)
        weights = [float(layer[n, :, i, at].mean()) for layer in layers for i in later]
        expected.append(sum(weights) / len(weights))
    found = leakage(model, PROMPTS, masked=False, seed=0).attention
    # transformers takes its softmax in single precision.
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_mask_ends_direct_attention_and_lessens_leakage(model: PictureModel) -> None:
    plain, masked = (leakage(model, PROMPTS, masked=m, seed=0) for m in (False, True))
    assert min(plain.attention) > 0
    assert masked.attention == [0.0, 0.0]
    # Not to nothing: later rows see the noun, which sees the identifier.
    assert all(0 < m < p for m, p in zip(masked.change, plain.change, strict=True))


def test_text_drift(model: PictureModel) -> None:
    prompts = ["a photo of a cat", "a dog"]
    assert text_drift(model, prompts, prompts).tolist() == pytest.approx([1, 1])
    moved = text_drift(model, ["a photo of a <krk1> cat"], prompts[:1])
    assert -1 <= float(moved) < 1 - 1e-6


@pytest.mark.parametrize("masked", [False, True])
def test_a_word_of_several_vectors_is_measured_as_one_word(
    model: PictureModel, masked: bool
) -> None:
    """Later rows begin behind its noun; with the mask none of its vectors is attended to."""
    assert model.adapter is not None
    random = torch.randn(3 * 64, generator=torch.Generator().manual_seed(2))
    three = PictureModel(model.backbone, replace(model.adapter, vector=random, num_vectors=3))
    found = leakage(three, PROMPTS, masked=masked, seed=0)
    assert all(change > 0 for change in found.change)
    assert (found.attention == [0.0, 0.0]) is masked
    tokens = three.tokens(PROMPTS)
    assert _later_rows(three, tokens).int().argmax(1).tolist() == [9, 6]
