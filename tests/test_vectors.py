"""A word of several vectors: as many tokens, held apart as one word, in every file and back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.embedding_file import read_embedding
from textreg.adapter.export import export
from textreg.adapter.reading import Told
from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, Inversion, Optimizer, Run
from textreg.errors import UserError
from textreg.importing import import_file
from textreg.run_record import read_record
from textreg.sampling import PictureModel, sample, scheduler_of
from textreg.stages import InversionStage
from textreg.trainer import trainings
from tiny_run import assert_same_edit, loud_edit, results, tiny_run, train, train_some

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),
]
THREE = Inversion(steps=3, vectors=3)
PROMPT = "a photo of a <krk1> cat in the dog"


@pytest.fixture(scope="module")
def trained(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run's folder, its edit and words then made so large that they decide the picture."""
    out = tmp_path_factory.mktemp("three") / "run"
    train(tiny_run(tiny_base, out, cat_pictures, inversion=THREE), backbone)
    adapter = Adapter.load(out)
    # Different ones, so that their order matters.
    random = torch.randn(adapter.vector.shape, generator=torch.Generator().manual_seed(5))
    vector = adapter.vector + random
    replace(adapter, factors=loud_edit(adapter), vector=vector).save(out)
    return out


@pytest.fixture
def pipeline(tiny_base: Path, trained: Path) -> Iterator[Any]:
    """Plain diffusers, with the two lines that users paste."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(trained)
    pipe.load_textual_inversion(trained)
    return pipe


def texts_of(backbone: Backbone, vectors: int) -> ConceptTexts:
    concept = Concept(images=Path("cat"), noun="cat")
    return ConceptTexts.of(concept, backbone, vectors=vectors)


@pytest.mark.parametrize("prompt", [PROMPT, "<krk1> cat", "a <KRK1> cat and a <krk1> dog", "a cat"])
def test_plain_diffusers_has_the_same_text_features(
    prompt: str, backbone: Backbone, pipeline: Any, trained: Path
) -> None:
    theirs, _ = pipeline.encode_prompt(prompt.lower(), "cpu", 1, False)
    adapter = Adapter.load(trained)
    ours = texts_of(backbone, 3).features([prompt], adapter.vector)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_plain_diffusers_draws_the_same_picture(
    backbone: Backbone, pipeline: Any, trained: Path
) -> None:
    pipeline.scheduler = scheduler_of(backbone, "ddim")
    options: dict[str, Any] = {"num_inference_steps": 3, "height": 16, "width": 16}
    theirs = pipeline(
        PROMPT,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
        **options,
    ).images[0]

    def drawn(adapter: Adapter) -> torch.Tensor:
        model = PictureModel(backbone, adapter)
        (ours,) = sample(model, [PROMPT], seeds=[7], steps=3, resolution=16)
        pixels = torch.tensor(list(ours.image.tobytes())).reshape(16, 16, 3)
        return pixels.permute(2, 0, 1)

    adapter = Adapter.load(trained)
    assert (drawn(adapter) - 255 * theirs).abs().max() < 1
    # Every vector has its place: in another order they are another word.
    other = adapter.vector.unflatten(0, (3, -1))[[1, 0, 2]].flatten()
    assert (drawn(replace(adapter, vector=other)) - 255 * theirs).abs().max() > 4


def test_a_masked_word_reads_itself_alone_and_only_its_noun_reads_it(backbone64: Backbone) -> None:
    texts = texts_of(backbone64, 3)
    word = torch.randn(3 * 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prompts = ("a <krk1> cat", "the <krk1> cat")
    one, other = (texts.features([p], word, masked=True)[0] for p in prompts)
    torch.testing.assert_close(one[2:5], other[2:5], rtol=0, atol=1e-14)
    # A later vector reads the earlier ones of its word.
    moved = word.clone()
    moved[:64] *= -1
    changed = (texts.features(["a <krk1> cat"], moved, masked=True)[0] - one).abs().amax(-1) > 1e-9
    assert changed[:6].tolist() == [False, False, True, True, True, True]


def test_concepts_in_one_batch_are_each_alone(
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    """In float64, as in test_trainer.py."""
    both = tiny_run(
        tiny_base,
        tmp_path / "both",
        cat_pictures,
        dog_pictures,
        dtype="fp64",
        optimizer=Optimizer(batch_size=2),
        inversion=THREE,
    )
    together = train(both, backbone64).adapters()
    for n, concept in enumerate(both.concepts):
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone{n}")
        (alone,) = train(single, backbone64).adapters()
        assert alone.vector.shape == (3 * 64,)
        torch.testing.assert_close(together[n].vector, alone.vector, rtol=0, atol=1e-10)
        first, second, third = alone.vector.unflatten(0, (3, -1))
        assert not torch.allclose(first, second)
        assert not torch.allclose(second, third)
        assert_same_edit(together[n], alone, atol=1e-10)


def test_each_vectors_norm_is_pulled_back_on_its_own(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, inversion=THREE)
    texts = [ConceptTexts.of_run(run, run.concepts[0], backbone64)]
    stage = InversionStage(run, texts)
    each = stage.vectors.data.unflatten(1, (3, -1))
    first = each.norm(dim=-1)
    each.mul_(torch.tensor([1.0, 2.0, 3.0])[:, None])
    stage.after_step(torch.tensor([0.004], dtype=torch.float64))  # lam = .4
    wanted = first * torch.tensor([[1.0, 1.6, 2.2]], dtype=torch.float64)
    torch.testing.assert_close(each.norm(dim=-1), wanted, rtol=1e-12, atol=0)


def test_stopped_and_continued_is_never_stopped(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    def run(name: str) -> Run:
        return tiny_run(tiny_base, tmp_path / name, cat_pictures, inversion=THREE)

    train(run("straight"), backbone)
    for count in (2, 3):
        train_some(run("stopped"), backbone, count)
    train(run("stopped"), backbone)
    assert results(tmp_path / "stopped") == results(tmp_path / "straight")


def test_every_program_reads_the_same_and_so_do_we(trained: Path, tmp_path: Path) -> None:
    adapter = Adapter.load(trained)
    targets = ("diffusers", "kohya", "a1111", "comfyui")
    rows = export(adapter, tmp_path, targets, Facts(base="a base"))
    assert all(row.difference is None or row.difference < 1e-6 for row in rows)
    word = load_file(tmp_path / "webui" / "krk1.safetensors")
    assert {key: list(tensor.shape) for key, tensor in word.items()} == {"emb_params": [3, 64]}
    for file in (tmp_path, tmp_path / "webui" / "krk1_lora.safetensors"):
        again = Adapter.load(file)
        assert (again.num_vectors, again.identifier) == (3, "<krk1>")
        assert again.vector.equal(adapter.vector)
    with pytest.raises(UserError, match=r"--to legacy: the original's word has one vector"):
        export(adapter, tmp_path, ("legacy",), Facts(base="a base"))


def test_an_imported_word_keeps_its_vectors(tiny_base: Path, trained: Path, tmp_path: Path) -> None:
    file = trained / "pytorch_lora_weights.safetensors"
    adapter, _ = import_file(file, tmp_path / "in", Told(), base=str(tiny_base))
    assert adapter.num_vectors == 3
    assert read_record(tmp_path / "in")["run"]["inversion"]["vectors"] == 3
    again = Adapter.load(tmp_path / "in")
    assert again.vector.equal(Adapter.load(trained).vector)


def test_a_saved_word_needs_its_own_number(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, trained: Path, tmp_path: Path
) -> None:
    start = replace(THREE, steps=0, embedding=trained / "learned_embeds.safetensors")
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures, inversion=start)
    ((training, _), *_) = trainings(run, backbone)
    assert training.inversion.vectors.detach()[0].equal(Adapter.load(trained).vector)
    one = replace(run, out=tmp_path / "one", inversion=replace(start, vectors=1))
    with pytest.raises(UserError, match=r"its word has 3 vectors, --vectors is 1; use --vectors 3"):
        list(trainings(one, backbone))


def test_a_prompt_without_room_for_the_word_is_refused(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path / "run", cat_pictures, inversion=Inversion(vectors=22))
    with pytest.raises(UserError, match=r"24 tokens this base reads; the identifier '<krk1>' is"):
        list(trainings(run, backbone))
    assert not (tmp_path / "run" / "run.yaml").exists()


@pytest.mark.parametrize(("count", "why"), [(0, "at least 1"), (65, "the most is 64")])
def test_numbers_that_cannot_be(count: int, why: str) -> None:
    with pytest.raises(ValueError, match=f"--vectors is {count}; .*{why}"):
        tiny_run(Path("base"), Path("out"), Path("cat"), inversion=Inversion(vectors=count))


def test_one_vector_leaves_a_runs_name_as_it_was() -> None:
    run = tiny_run(Path("base"), Path("out"), Path("cat"))
    assert "vectors" not in run.identity()["inversion"]
    assert replace(run, inversion=THREE).digest != run.digest


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"clip_l": torch.ones(1, 6), "clip_g": torch.ones(2, 8)}, "1 vectors in clip_l and 2 in"),
        ({"<krk1>": torch.ones(65, 6)}, r"1 to 64 vectors, and <krk1> has the shape \[65, 6\]"),
        ({"<krk1>": torch.ones(1, 2, 3)}, r"has the shape \[1, 2, 3\]"),
    ],
)
def test_files_that_hold_no_word_are_refused(
    tensors: dict[str, torch.Tensor], said: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=said):
        read_embedding(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "tensors",
    [
        {"emb_params": torch.arange(18.0).reshape(3, 6)},
        {"clip_l": torch.arange(18.0).reshape(3, 6)},
        {"<krk1>": torch.arange(18.0).reshape(3, 6)},
        {
            "clip_l": torch.arange(18.0).reshape(3, 6)[:, :4].contiguous(),
            "clip_g": torch.arange(18.0).reshape(3, 6)[:, 4:].contiguous(),
        },
    ],
    ids=lambda tensors: "+".join(tensors),
)
def test_each_form_of_file_is_read(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    word = read_embedding(tmp_path / "x.safetensors")
    assert word.vector.equal(torch.arange(18.0))
    assert (word.num_vectors, word.width, word.second_width) == (3, 6, 2 * (len(tensors) - 1))
