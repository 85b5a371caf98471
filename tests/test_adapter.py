"""What a run leaves loads back as the same edit, in ours and in plain diffusers' keys."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from textreg.adapter import Adapter
from textreg.adapter.diffusers_files import EMBEDDING_FILE, LORA_FILE
from textreg.adapter.embedding_file import read_embedding
from textreg.errors import UserError

KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
VALUE = KEY.replace("to_k", "to_v")


@pytest.fixture
def adapter() -> Adapter:
    random = torch.Generator().manual_seed(0)
    return Adapter(
        identifier="<krk1>",
        noun="teddy bear",
        learnable_property="style",
        vector=torch.randn(6, generator=random),
        factors={
            name: (torch.randn(2, 6, generator=random), torch.randn(5, 2, generator=random))
            for name in (KEY, VALUE)
        },
        alpha=2.0,
        digest="d1",
    )


def test_saved_and_loaded_it_is_the_same(adapter: Adapter, tmp_path: Path) -> None:
    adapter.save(tmp_path)
    loaded = Adapter.load(tmp_path)
    for name in ("identifier", "noun", "learnable_property", "alpha", "digest", "rank"):
        assert getattr(loaded, name) == getattr(adapter, name)
    assert torch.equal(loaded.vector, adapter.vector)
    assert loaded.factors.keys() == adapter.factors.keys()
    for name, pair in adapter.factors.items():
        assert all(torch.equal(a, b) for a, b in zip(loaded.factors[name], pair, strict=True))


def test_the_keys_are_those_diffusers_reads(adapter: Adapter, tmp_path: Path) -> None:
    adapter.save(tmp_path)
    assert {k: tuple(v.shape) for k, v in load_file(tmp_path / LORA_FILE).items()} == {
        f"unet.{name}.lora_{part}.weight": shape
        for name in (KEY, VALUE)
        for part, shape in (("A", (2, 6)), ("B", (5, 2)))
    }
    embedding = load_file(tmp_path / EMBEDDING_FILE)
    assert {k: tuple(v.shape) for k, v in embedding.items()} == {"<krk1>": (1, 6)}


def test_alpha_goes_into_the_file_so_that_no_reader_needs_it(
    adapter: Adapter, tmp_path: Path
) -> None:
    """FORMATS 2: alpha 8 at rank 2 would reload at scale 1, not 4."""
    replace(adapter, alpha=8.0).save(tmp_path)
    loaded = Adapter.load(tmp_path)
    assert loaded.alpha == loaded.rank == 2
    torch.testing.assert_close(loaded.factors[KEY][1], 4 * adapter.factors[KEY][1])


def test_files_are_float32_whatever_trained_them(adapter: Adapter, tmp_path: Path) -> None:
    double = {name: (a.double(), b.double()) for name, (a, b) in adapter.factors.items()}
    replace(adapter, factors=double, vector=adapter.vector.double()).save(tmp_path)
    for file in (LORA_FILE, EMBEDDING_FILE):
        assert {t.dtype for t in load_file(tmp_path / file).values()} == {torch.float32}


def test_the_same_adapter_is_the_same_bytes(adapter: Adapter, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        adapter.save(tmp_path / folder)
    for file in (LORA_FILE, EMBEDDING_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_prompts_that_show_the_concept(adapter: Adapter) -> None:
    assert adapter.prompt == "a photo in the style of <krk1> teddy bear"
    assert replace(adapter, learnable_property="object").prompt == "a photo of a <krk1> teddy bear"


@pytest.mark.parametrize("file", [LORA_FILE, EMBEDDING_FILE])
@pytest.mark.parametrize("keep", [0, 5, 60, -3])
def test_a_damaged_file_is_named(adapter: Adapter, tmp_path: Path, file: str, keep: int) -> None:
    adapter.save(tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=file):
        Adapter.load(tmp_path)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(
    adapter: Adapter, tmp_path: Path, bad: float
) -> None:
    replace(adapter, vector=adapter.vector * bad).save(tmp_path)
    with pytest.raises(UserError, match=r"<krk1>.* not finite"):
        Adapter.load(tmp_path)


def test_pairs_that_do_not_fit_are_refused(adapter: Adapter, tmp_path: Path) -> None:
    adapter.save(tmp_path)
    tensors = load_file(tmp_path / LORA_FILE)
    odd = tensors | {f"unet.{KEY}.lora_B.weight": torch.zeros(5, 3)}
    save_file(odd, tmp_path / LORA_FILE)
    with pytest.raises(UserError, match=f"the pair of {KEY} does not fit together"):
        Adapter.load(tmp_path)
    save_file({"unet.x.lora_B.weight": torch.zeros(5, 3)}, tmp_path / LORA_FILE)
    with pytest.raises(UserError, match="is it a LoRA"):
        Adapter.load(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"<a>": torch.zeros(1, 6), "<b>": torch.zeros(1, 6)},
        {"<a>": torch.zeros(1, 2, 3)},
        {"<a>": torch.zeros(())},
        {"<a>": torch.zeros(1, 0)},
    ],
)
def test_a_word_is_one_tensor_of_vectors(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "word.safetensors")
    with pytest.raises(UserError, match=r"word\.safetensors: must hold one word"):
        read_embedding(tmp_path / "word.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth"])
def test_pickles_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The content would leave a file here as soon as it is unpickled."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"adapter{suffix}"
    path.write_bytes(b"cos\nmkdir\n(S'ran'\ntR.")
    with pytest.raises(UserError, match="a pickle, which can run code"):
        Adapter.load(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with path.open("rb") as file:
        pickle.load(file)
    assert (tmp_path / "ran").is_dir(), "the proof that it would"


def test_nothing_there_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "missing.safetensors"):
        with pytest.raises(UserError, match="no such file"):
            Adapter.load(path)


def test_of_a_folder_without_one_the_next_place_is_said(tmp_path: Path, adapter: Adapter) -> None:
    """An unfinished run's, and that of a run with several concepts."""
    with pytest.raises(UserError, match=f"{tmp_path}: holds no finished concept; give a fin"):
        Adapter.load(tmp_path)
    adapter.save(tmp_path / "cat")
    with pytest.raises(UserError, match=f"give one of its concepts, like {tmp_path / 'cat'}$"):
        Adapter.load(tmp_path)
