"""The original's file: key set and order at Stable Diffusion 1.5's size, and what is refused."""

from pathlib import Path

import pytest
import torch
from random_base import _SD15
from safetensors.torch import load_file, save_file

from textreg.adapter import Adapter
from textreg.adapter.embedding_file import read_embedding
from textreg.adapter.legacy_file import module_order, named, write
from textreg.errors import UserError
from textreg.method.text_projections import TextProjections

# FORMATS 3, in the order of modules: down, up, then the middle; key and value of each layer.
WIDTHS = [320] * 4 + [640] * 4 + [1280] * 10 + [640] * 6 + [320] * 6 + [1280] * 2


@pytest.fixture(scope="module")
def projections() -> TextProjections:
    """Stable Diffusion 1.5's, without memory for the rest of it."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return TextProjections.from_denoiser(UNet2DConditionModel(**_SD15["unet"]))


@pytest.fixture(scope="module")
def adapter(projections: TextProjections) -> Adapter:
    random = torch.Generator().manual_seed(0)
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=torch.randn(768, generator=random),
        factors={
            name: (
                torch.randn(10, 768, generator=random),
                torch.randn(width, 10, generator=random),
            )
            for name, width in zip(projections.names, projections.widths, strict=True)
        },
        alpha=10.0,
    )


def test_161_tensors_in_the_originals_order(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "lora_weight.safetensors"
    write(adapter, path, text_layers=12)
    tensors = load_file(path)
    assert len(tensors) == 161
    assert [len(tensors[f"unet:{i}:up"]) for i in range(32)] == WIDTHS
    for i in range(32):
        assert tensors[f"unet:{i}:up"].shape == (WIDTHS[i], 10)
        assert tensors[f"unet:{i}:down"].shape == (10, 768)
        assert tensors[f"unet:{i}:up"].dtype == torch.half
    for j in range(48):
        assert not tensors[f"text_encoder:{j}:up"].any()
        assert tensors[f"text_encoder:{j}:up"].shape == (768, 10)
    assert tensors["<krk1>"].shape == (1, 768)


def test_module_order_is_the_bases_own(projections: TextProjections) -> None:
    assert module_order(sorted(projections.names)) == list(projections.names)
    names = [f"down_blocks.0.attentions.{n}.attn2.to_k" for n in (0, 9, 10, 11)]
    assert module_order(reversed(names)) == names


def test_written_and_read_it_is_the_same_edit(
    adapter: Adapter, projections: TextProjections, tmp_path: Path
) -> None:
    adapter.save(tmp_path)
    # Read back from the other format, the names come in another order; the file must not.
    write(Adapter.load(tmp_path), tmp_path / "a.safetensors", text_layers=12)
    write(adapter, tmp_path / "b.safetensors", text_layers=12)
    first, second = (load_file(tmp_path / f"{x}.safetensors") for x in "ab")
    assert all(first[key].equal(second[key]) for key in second)
    again = Adapter.load(tmp_path / "b.safetensors")
    assert (again.identifier, again.noun, again.rank, again.alpha) == ("<krk1>", "cat", 10, 10.0)
    assert again.vector.equal(adapter.vector)
    factors = named(again, projections.names)
    for name, (down, up) in adapter.factors.items():
        assert factors[name][0].equal(down.half().float())
        assert factors[name][1].equal(up.half().float())


def test_alpha_is_folded_into_the_file(tmp_path: Path) -> None:
    half = Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="style",
        vector=torch.ones(4),
        factors={"down_blocks.0.attn2.to_k": (torch.ones(2, 4), torch.ones(3, 2))},
        alpha=1.0,
    )
    write(half, tmp_path / "half.safetensors", text_layers=1)
    again = Adapter.load(tmp_path / "half.safetensors")
    assert again.alpha == again.rank == 2
    assert again.learnable_property == "style"
    down, up = again.factors["0"]
    assert (up @ down).equal(torch.full((3, 4), 1.0))


def test_the_word_can_be_taken_from_it(adapter: Adapter, tmp_path: Path) -> None:
    write(adapter, tmp_path / "lora_weight_s500.safetensors", text_layers=12)
    word = read_embedding(tmp_path / "lora_weight_s500.safetensors")
    token, vector = word.name, word.vector
    assert token == "<krk1>"
    assert vector.equal(adapter.vector)


GOOD = {
    "unet:0:up": torch.ones(3, 2),
    "unet:0:down": torch.ones(2, 4),
    "unet:1:up": torch.ones(3, 2),
    "unet:1:down": torch.ones(2, 4),
    "<krk1>": torch.ones(1, 4),
}


@pytest.mark.parametrize(
    ("change", "about", "said"),
    [
        ({"unet:0:down": None}, {"<krk1>": "<embed>"}, "incomplete"),
        ({"unet:0:up": None, "unet:1:up": None}, {"<krk1>": "<embed>"}, "not a legacy adapter"),
        ({}, {}, "not a legacy adapter"),
        ({"unet:1:down": torch.ones(1, 4)}, {"<krk1>": "<embed>"}, "unet:1"),
        ({"unet:0:down": torch.ones(2, 4, 1, 1)}, {"<krk1>": "<embed>"}, "unet:0"),
        ({"unet:0:down": torch.ones(())}, {"<krk1>": "<embed>"}, "unet:0"),
        ({"unet:1:up": torch.full((3, 2), torch.nan)}, {"<krk1>": "<embed>"}, "not finite"),
        ({"text_encoder:0:up": torch.ones(4, 2)}, {"<krk1>": "<embed>"}, "incomplete"),
        (
            {"text_encoder:0:up": torch.ones(4, 2), "text_encoder:0:down": torch.ones(2, 4)},
            {"<krk1>": "<embed>"},
            "1 projections of a text encoder",
        ),
    ],
)
def test_damaged_and_foreign_files_are_refused(
    change: dict[str, torch.Tensor | None], about: dict[str, str], said: str, tmp_path: Path
) -> None:
    tensors = {name: t for name, t in (GOOD | change).items() if t is not None}
    save_file(tensors, tmp_path / "x.safetensors", about)
    with pytest.raises(UserError, match=said):
        Adapter.load(tmp_path / "x.safetensors")


def test_another_bases_file_is_named(adapter: Adapter, tmp_path: Path) -> None:
    write(adapter, tmp_path / "x.safetensors", text_layers=12)
    with pytest.raises(UserError, match="32 projections, the base has 14"):
        named(Adapter.load(tmp_path / "x.safetensors"), [str(n) for n in range(14)])


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "lora_weight.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="pickle"):
        Adapter.load(tmp_path / "lora_weight.pt")
