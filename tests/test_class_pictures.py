"""Class pictures: the same files however often drawing was stopped; the term by itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import textreg.class_pictures
from prior_setup import draws, set_up
from textreg.backbone import Backbone
from textreg.batch import Batch, losses
from textreg.class_pictures import class_prompt
from textreg.concept import read_picture
from textreg.config import ClassImages, Images, Inversion, Run, Tuning
from textreg.errors import UserError
from textreg.method.denoising import add_noise
from textreg.sampling import PictureModel, sample
from textreg.trainer import steps
from textreg.views import Cut, training_view
from tiny_run import results, tiny_run, train

pytestmark = pytest.mark.thorough

ZERO = torch.zeros(())
UNUSED = Batch(x_t=ZERO, t=ZERO, features=ZERO, wanted=ZERO)


def a_run(base: Path, out: Path, *pictures: Path, **settings: Any) -> Run:
    """1 + 2 steps; seven pictures of two: two groups, the second one not full."""
    chosen = ClassImages(**({"count": 7, "steps": 2, "weight": 0.6} | settings))
    images = Images(resolution=32, views=2, center_crop=False)
    options: dict[str, Any] = {"prior": "class-images", "class_images": chosen, "images": images}
    options |= {"inversion": Inversion(steps=1), "tuning": Tuning(steps=2, rank=2)}
    return tiny_run(base, out, *pictures, **options)


@pytest.fixture(scope="module")
def finished(backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path_factory: Any) -> Run:
    run = a_run(tiny_base, tmp_path_factory.mktemp("class") / "run", cat_pictures)
    train(run, backbone)
    return run


def test_pictures_are_the_bases_own(finished: Run, backbone: Backbone) -> None:
    folder = finished.out / "class_images" / "cat"
    recorded = json.loads((folder / "pictures.json").read_text())
    assert [entry["name"] for entry in recorded] == [f"{n:05}.png" for n in range(7)]
    assert {entry["prompt"] for entry in recorded} == {"a photo of a cat"}
    seeds = [textreg.class_pictures._seed(finished, finished.concepts[0], n) for n in range(4)]
    assert len(set(seeds)) == 4
    drawn = sample(
        PictureModel(backbone),
        ["a photo of a cat"] * 4,
        seeds=seeds,
        steps=2,
        guidance=5.0,
        resolution=32,
    )
    for n, picture in enumerate(drawn):
        with Image.open(folder / f"{n:05}.png") as kept:
            assert kept.tobytes() == picture.image.tobytes()


@pytest.mark.parametrize(
    "writes", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 8))]
)
def test_stopped_while_drawing_it_ends_with_the_same_files(
    finished: Run,
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    """A death within a group, before its record, and between two groups."""
    run = replace(finished, out=tmp_path / "run")
    publish, left = textreg.class_pictures.publish, writes

    def dying(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        publish(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(textreg.class_pictures, "publish", dying)
        with pytest.raises(KeyboardInterrupt):
            next(steps(run, backbone))
    assert not (run.out / "metrics.jsonl").exists()
    train(run, backbone)
    for folder in ("class_images/cat", "."):
        assert contents_of(run.out / folder) == contents_of(finished.out / folder)
    assert results(run.out) == results(finished.out)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Everything but times and settings."""
    return {p.name: p.read_bytes() for p in folder.glob("*.png")} | {
        p.name: p.read_bytes() for p in folder.glob("pictures.json")
    }


def test_what_is_there_is_not_drawn_again(
    finished: Run, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textreg.class_pictures, "sample", None)
    assert list(steps(finished, backbone)) == []


def test_a_picture_that_was_changed_is_not_taken_and_not_overwritten(
    finished: Run, backbone: Backbone, tmp_path: Path
) -> None:
    run = replace(finished, out=tmp_path / "run")
    going = steps(run, backbone)
    next(going)
    going.close()  # type: ignore[attr-defined]
    victim = run.out / "class_images" / "cat" / "00002.png"
    victim.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"00002\.png: has changed since it was recorded"):
        next(steps(run, backbone))
    assert victim.read_bytes() == b"mine"
    victim.unlink()
    assert len(list(steps(run, backbone))) == 2
    assert results(run.out) == results(finished.out)


def test_the_term_is_the_denoising_loss_on_class_pictures(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, tmp_path: Path
) -> None:
    """Each concept's, computed anew from files, one sample at a time, outside the batch."""
    run = a_run(tiny_base, tmp_path, cat_pictures, dog_pictures, count=3)
    prior, projections, texts = set_up(run, backbone64, size=0.1, folder=tmp_path)
    own = draws(3, 4, samples=2)
    (name, batch), *others = prior.batches(own, UNUSED).items()
    assert (name, batch.weight, others) == ("class_images", 0.6, [])
    (value,) = losses([batch], projections, backbone64)
    for n, t in enumerate(texts):
        errors: list[float] = []
        for draw in own[n]:
            mine = draw.within("class images")
            number = mine.index("picture", 3)
            path = tmp_path / "class_images" / t.concept.name / f"{number:05}.png"
            view = training_view(read_picture(path), Cut(width=32, height=32, center_crop=True))
            moments = backbone64.vae.encode(view[None].double()).latent_dist
            noise = mine.normal("posterior", tuple(moments.mean.shape[1:])).double()
            x_0 = (moments.mean + moments.std * noise) * backbone64.vae.config.scaling_factor
            noise = mine.normal("noise", tuple(x_0.shape[1:])).double()[None]
            step = torch.tensor([mine.index("timestep", 1000)])
            x_t = add_noise(x_0, noise, backbone64.alphas_cumprod[step])
            edit = projections.edit
            assert edit is not None
            single = backbone64.projections.new_edit(run.tuning.rank)
            single.load_factors(0, edit.factors(n))
            c = t.features([class_prompt(t.concept)], None)
            maps = backbone64.projections.with_edit(single)
            error = backbone64.denoiser(x_t, step, maps(c[None])) - noise
            errors.append(error.square().mean().item())
        assert value[n].item() == pytest.approx(sum(errors) / len(errors), rel=1e-10)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for n, name in enumerate(("b", "a", "c")):
        Image.new("RGB", (40, 40), (80 * n, 10, 10)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("captions", [None, "one", "each", "beside"])
def test_pictures_of_a_folder_with_their_prompts(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    own_folder: Path,
    captions: str | None,
) -> None:
    file = tmp_path / "captions.txt"
    wanted = ["a photo of a cat"] * 3
    if captions == "beside":
        (own_folder / "b.txt").write_text("the cat in the photo\n")
        wanted[1] = "the cat in the photo"
    elif captions:
        wanted = ["the cat"] * 3 if captions == "one" else ["a cat", "the cat", "the photo"]
        file.write_text("\n".join(dict.fromkeys(wanted)))
    run = a_run(
        tiny_base,
        tmp_path / "run",
        cat_pictures,
        folder=own_folder,
        captions=file if captions in ("one", "each") else None,
    )
    records = list(steps(run, backbone))
    assert [set(r.losses) for r in records[1:]] == [{"denoising", "class_images", "total"}] * 2
    left = run.out / "class_images" / "cat"
    assert [p.name for p in left.iterdir()] == ["pictures.json"]
    recorded = json.loads((left / "pictures.json").read_text())
    assert [(e["name"], e["prompt"]) for e in recorded] == list(
        zip(("a.png", "b.png", "c.png"), wanted, strict=True)
    )
    assert str(tmp_path) not in (left / "pictures.json").read_text()


def test_a_folder_that_changes_under_a_run_is_refused(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path, own_folder: Path
) -> None:
    run = a_run(tiny_base, tmp_path / "run", cat_pictures, folder=own_folder)
    going = steps(run, backbone)
    next(going)
    going.close()  # type: ignore[attr-defined]
    Image.new("RGB", (40, 40), (1, 2, 3)).save(own_folder / "b.png")
    with pytest.raises(UserError, match="have changed since this run began"):
        next(steps(run, backbone))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no folder", "own: no such folder with pictures of the class"),
        ("no pictures", "no pictures in this folder"),
        ("a broken one", r"b\.png"),
        ("two prompts", "has 2 prompts for 3 pictures; write one a picture, or one for all"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(
    backbone: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    tmp_path: Path,
    own_folder: Path,
    damage: str,
    said: str,
) -> None:
    captions = None
    if damage == "two prompts":
        captions = tmp_path / "captions.txt"
        captions.write_text("a\nb\n")
    elif damage == "a broken one":
        (own_folder / "b.png").write_bytes(b"\x89PNG")
    else:
        for path in own_folder.iterdir():
            path.unlink()
    if damage == "no folder":
        own_folder.rmdir()
    run = a_run(tiny_base, tmp_path / "run", cat_pictures, folder=own_folder, captions=captions)
    with pytest.raises(UserError, match=said):
        next(steps(run, backbone))
    assert not (run.out / "run.yaml").exists(), "found before the run has begun"
