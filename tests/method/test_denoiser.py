"""Keys and values from outside against the UNet that computes them itself, in float64."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from random_base import _TINY
from torch import Tensor, nn

from textreg.method import denoiser as denoiser_module
from textreg.method.denoiser import Denoiser, freeze
from textreg.method.text_projections import LowRankEdit, TextProjections

RANK, SCALE = 3, 0.5
EXACT = {"rtol": 1e-10, "atol": 1e-12}
LAST: dict[str, Any] = {"dtype": torch.float64}


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    return freeze(UNet2DConditionModel(**_TINY["unet"]).double())


@pytest.fixture(scope="module")
def denoiser(unet: Any) -> Denoiser:
    return Denoiser(deepcopy(unet))


@pytest.fixture(scope="module")
def projections(unet: Any) -> TextProjections:
    return TextProjections.from_denoiser(unet, torch.float64)


@pytest.fixture
def random() -> Iterator[torch.Generator]:
    return torch.Generator().manual_seed(0)


def inputs(random: torch.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, t and text features."""
    x_t = torch.randn(batch, 4, 8, 8, generator=random, **LAST)
    t = torch.randint(1000, (batch,), generator=random)
    return x_t, t, torch.randn(batch, 9, 64, generator=random, **LAST)


def random_edit(
    projections: TextProjections, random: torch.Generator, concepts: int = 1
) -> LowRankEdit:
    edit = projections.new_edit(RANK, concepts, SCALE)
    with torch.no_grad():
        for parameter in edit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, **LAST))
    return edit


def test_weights_and_what_is_denoised_lie_in_channels_last(
    denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    """As the fast kernels want them; diffusers' own transformers alone leave in another layout."""
    x_t, t, text = inputs(random, 2)
    layouts: list[bool] = []

    def reads(_: Any, given: Any) -> None:
        layouts.append(given[0].is_contiguous(memory_format=torch.channels_last))

    named = denoiser.unet.named_modules()
    convolutions = {name: m for name, m in named if isinstance(m, nn.Conv2d)}
    inner = [m for name, m in convolutions.items() if not name.endswith("proj_out")]
    watched = [m.register_forward_pre_hook(reads) for m in inner]
    denoiser(x_t, t, projections(text[:, None]))
    for watch in watched:
        watch.remove()
    assert len(layouts) > 10
    assert all(layouts)
    weights = [m.weight for m in convolutions.values()]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize("side", [8, 1])
def test_half_precision_normalises_by_the_plain_kernel_and_keeps_channels_last(
    random: torch.Generator, side: int
) -> None:
    """On a CPU; to rounding of bfloat16."""
    norm = nn.GroupNorm(4, 32).bfloat16()
    x = torch.randn(2, 32, side, 8, generator=random).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    found = denoiser_module._normalise(norm, x)
    assert found.stride() == x.stride()
    torch.testing.assert_close(found, norm(x))
    assert torch.equal(found, norm(x.contiguous()))


def test_same_output_and_same_gradient_of_the_text(
    unet: Any, denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    x_t, t, text = inputs(random, 2)
    ours, plain = text.clone().requires_grad_(), text.clone().requires_grad_()
    outside = denoiser(x_t, t, projections(ours[:, None]))
    inside = unet(x_t, t, plain, return_dict=False)[0]
    torch.testing.assert_close(outside, inside, **EXACT)
    push = torch.randn(inside.shape, generator=random, **LAST)
    (outside * push).sum().backward()
    (inside * push).sum().backward()
    assert plain.grad is not None
    assert plain.grad.norm() > 1e-3
    torch.testing.assert_close(ours.grad, plain.grad, **EXACT)


def lora_in(unet: Any, edit: LowRankEdit, names: tuple[str, ...]) -> dict[str, Any]:
    """The same edit as peft's LoRA inside a copy of the UNet; its layers by name."""
    unet.add_adapter(
        LoraConfig(r=RANK, lora_alpha=SCALE * RANK, target_modules=list(names), bias="none")
    )
    unet.double()
    layers = {name: unet.get_submodule(name) for name in names}
    for (name, layer), (down, up) in zip(layers.items(), edit.factors(0), strict=True):
        assert layer.scaling["default"] == SCALE, name
        with torch.no_grad():
            layer.lora_A["default"].weight.copy_(down)
            layer.lora_B["default"].weight.copy_(up / SCALE)
    return layers


def test_same_output_and_gradients_as_a_lora_inside(
    unet: Any, denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    x_t, t, text = inputs(random, 2)
    edit = random_edit(projections, random)
    inside_unet = deepcopy(unet)
    layers = lora_in(inside_unet, edit, projections.names)
    outside = denoiser(x_t, t, projections.with_edit(edit)(text[None]))
    inside = inside_unet(x_t, t, text, return_dict=False)[0]
    base = unet(x_t, t, text, return_dict=False)[0]
    assert (inside - base).norm() > 0.01 * base.norm()
    torch.testing.assert_close(outside, inside, **EXACT)
    outside.square().sum().backward()
    inside.square().sum().backward()
    down_grad, up_grad = edit.down.grad, edit.up.grad
    assert down_grad is not None
    assert up_grad is not None
    ups = edit.each(up_grad)
    for place, up, layer in zip(edit.places, ups, layers.values(), strict=True):
        assert up[0].norm() > 0
        torch.testing.assert_close(
            down_grad[0, place], layer.lora_A["default"].weight.grad, **EXACT
        )
        torch.testing.assert_close(up[0].mT, layer.lora_B["default"].weight.grad, **EXACT)


def test_zero_edit_is_the_base_bit_by_bit(
    denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    x_t, t, text = inputs(random, 2)
    edit = projections.new_edit(RANK)
    edit.initialise([random])
    with torch.no_grad():
        edited = denoiser(x_t, t, projections.with_edit(edit)(text[None]))
        assert torch.equal(edited, denoiser(x_t, t, projections(text[None])))


def test_concepts_in_one_call_are_each_alone(
    denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    concepts, samples = 3, 2
    x_t, t, text = inputs(random, concepts * samples)
    edit = random_edit(projections, random, concepts)
    features = text.unflatten(0, (concepts, samples))
    with torch.no_grad():
        together = denoiser(x_t, t, projections.with_edit(edit)(features))
        for n in range(concepts):
            own = slice(n * samples, (n + 1) * samples)
            single = projections.new_edit(RANK)
            single.load_factors(0, edit.factors(n))
            alone = denoiser(x_t[own], t[own], projections.with_edit(single)(features[n : n + 1]))
            torch.testing.assert_close(together[own], alone, **EXACT)


def test_fused_attention_is_the_plain_products(
    random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which half precision takes on a CPU while there are few scores."""
    monkeypatch.setattr(denoiser_module, "_half_on_cpu", lambda _: True)
    query, key, value = torch.randn(3, 2, 5, 24, generator=random, **LAST)
    found: list[Tensor] = []
    fused: list[bool] = []
    attend = nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        nn.functional,
        "scaled_dot_product_attention",
        lambda *given: fused.append(True) or attend(*given),
    )
    for most in (0, 5 * 5, 5 * 5 + 1):
        monkeypatch.setattr(denoiser_module, "_FUSED_FROM", most)
        found.append(denoiser_module._attend(query, key, value, 3))
    assert len(fused) == 2
    torch.testing.assert_close(found[2], found[0], **EXACT)


def test_the_text_argument_is_not_read(
    denoiser: Denoiser, projections: TextProjections, random: torch.Generator
) -> None:
    x_t, t, text = inputs(random, 1)
    with pytest.raises(ValueError, match="keys and values from outside"):
        denoiser.unet(x_t, t, text)


def test_attention_that_normalises_is_refused(unet: Any) -> None:
    other = deepcopy(unet)
    other.mid_block.attentions[0].transformer_blocks[0].attn2.norm_q = nn.LayerNorm(8)
    with pytest.raises(ValueError, match=r"mid_block.*attn2 .*normalises its queries"):
        Denoiser(other)


def test_frozen_means_no_gradient_and_no_dropout() -> None:
    module = freeze(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
