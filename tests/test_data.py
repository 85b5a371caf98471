"""What training makes of captions, masks, repeats and aspect buckets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from textreg.annotations import Annotation
from textreg.backbone import Backbone
from textreg.batch import losses, noisy_batch
from textreg.buckets import bucket, buckets
from textreg.cli import main
from textreg.config import (
    Concept,
    Denoising,
    Images,
    Inversion,
    Optimizer,
    Run,
    plain,
    without_later,
)
from textreg.errors import UserError
from textreg.instance_prompts import InstancePrompts, PictureChoice
from textreg.method.denoising import loss_per_concept
from textreg.prompts import instance_templates
from textreg.randomness import Draws
from textreg.run_folder import RunFolder
from textreg.run_pictures import check_pictures
from textreg.training import Training
from textreg.views import Cut, mask_view, training_view
from tiny_run import results, tiny_run, train, train_some

pytestmark = pytest.mark.thorough


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    """Four pictures of three shapes."""
    folder = tmp_path / "data" / "dog"
    folder.mkdir(parents=True)
    for n, size in enumerate(((48, 48), (120, 48), (48, 120), (125, 50))):
        noise(*size, seed=n).save(folder / f"{n:02}.png")
    return folder


def steps_of(count: int, samples: int = 1) -> list[list[Draws]]:
    return [[Draws("test", step, s) for s in range(samples)] for step in range(count)]


# Which picture, which prompt.


def test_one_shape_and_equal_repeats_are_the_plain_draw() -> None:
    for repeats in ((), (1,) * 4, (10,) * 4):
        choice = PictureChoice([(16, 16)] * 4, repeats)
        for samples in steps_of(30, 3):
            assert choice.pictures(samples) == [d.index("picture", 4) for d in samples]


def test_repeats_are_shares() -> None:
    choice = PictureChoice([(16, 16)] * 3, (20, 10, 10))
    seen = Counter(n for samples in steps_of(4000) for n in choice.pictures(samples))
    assert all(abs(seen[n] / 4000 - share) < 0.03 for n, share in enumerate((0.5, 0.25, 0.25)))


def test_a_micro_batch_has_one_shape_and_each_picture_its_share() -> None:
    shapes = [(16, 16), (32, 16), (16, 16), (16, 16)]
    choice = PictureChoice(shapes)
    seen: Counter[int] = Counter()
    for samples in steps_of(2000, 3):
        chosen = choice.pictures(samples)
        assert len({shapes[n] for n in chosen}) == 1
        seen.update(chosen)
    assert all(abs(seen[n] / 6000 - 0.25) < 0.03 for n in range(4))


def test_prompts_are_the_pictures_own() -> None:
    dog = Concept(images=Path("d"), noun="dog")
    known = [
        Annotation(captions=("a dog", "krk1 there")),
        Annotation(),
        Annotation(captions=("x",)),
    ]
    choice = PictureChoice([(16, 16)] * 3)
    prompts = InstancePrompts.of(dog, Images(), known, choice)
    package = instance_templates(dog)
    assert prompts.templates == (*package, "a {}", "{} there", "{}, x")
    seen: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for samples in steps_of(300, 2):
        rows = prompts.rows(samples)
        for n, row in zip(choice.pictures(samples), rows, strict=True):
            seen[n].add(prompts.templates[row])
    assert seen == {0: {"a {}", "{} there"}, 1: set(package), 2: {"{}, x"}}


def test_without_captions_the_draw_of_templates_is_the_plain_one() -> None:
    dog = Concept(images=Path("d"), noun="dog")
    own = InstancePrompts.of(dog, Images(), [Annotation()] * 4, PictureChoice([(16, 16)] * 4))
    for samples in steps_of(20, 2):
        assert own.rows(samples) == [d.index("template", 27) for d in samples]
    own = InstancePrompts.of(dog, Images(templates=("[trigger] in bed", "a dog", "grass")))
    assert own.templates == ("{} in bed", "a {}", "{}, grass")


# The masked loss.


def test_a_mask_of_ones_is_no_mask_bit_for_bit() -> None:
    random = torch.Generator().manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        both = torch.randn(2, 6, 4, 9, 7, generator=random).to(dtype)
        given = [t.clone().requires_grad_() for t in (both[0], both[0])]
        values = [
            loss_per_concept(given[0], both[1], 2),
            loss_per_concept(given[1], both[1], 2, torch.ones(6, 1, 9, 7)),
        ]
        assert torch.equal(*values)
        grads = [torch.autograd.grad(v.sum(), x)[0] for v, x in zip(values, given, strict=True)]
        assert torch.equal(*grads)


def test_the_masked_loss_is_a_mean_over_each_samples_area() -> None:
    random = torch.Generator().manual_seed(0)
    prediction, wanted = torch.randn(2, 4, 3, 5, 6, generator=random, dtype=torch.float64)
    counts = torch.rand(4, 1, 5, 6, generator=random, dtype=torch.float64)
    counts[1] = (counts[1] > 0.7).double()
    counts[3] = 0
    found = loss_per_concept(prediction, wanted, 2, counts).tolist()
    each: list[float] = []
    for n in range(4):
        above = below = 0.0
        for c in range(3):
            for y in range(5):
                for x in range(6):
                    share = counts[n, 0, y, x].item()
                    above += share * (prediction[n, c, y, x] - wanted[n, c, y, x]).item() ** 2
                    below += share
        each.append(above / below if below else 0.0)
    assert found == pytest.approx([(each[0] + each[1]) / 2, (each[2] + each[3]) / 2], rel=1e-12)


def test_a_masks_view_is_its_pictures(dogs: Path) -> None:
    """A mask that is the picture's own grey has the same view, whatever the cut."""
    grey = noise(90, 60).convert("L")
    for cut in (
        Cut(width=32, height=32, center_crop=True),
        Cut(width=48, height=16, center_crop=False, position=(0.2, 0.9), flip=True),
        Cut(width=16, height=48, center_crop=False, position=(0.7, 0.1)),
    ):
        view = (training_view(grey.convert("RGB"), cut)[:1] + 1) / 2
        whole = torch.nn.functional.avg_pool2d(view, 8)
        torch.testing.assert_close(mask_view(grey, cut, 8), whole, atol=1e-6, rtol=0)


def masked(folder: Path, name: str, box: tuple[int, int, int, int]) -> None:
    with Image.open(folder / name) as picture:
        mask = Image.new("L", picture.size)
    mask.paste(255, box)
    mask.save(folder / f"{Path(name).stem}-masklabel.png")


def test_a_run_with_masks_of_ones_has_the_bytes_of_one_without(
    backbone: Backbone, tiny_base: Path, dogs: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"optimizer": Optimizer(batch_size=2, accumulation=2)}
    train(tiny_run(tiny_base, tmp_path / "plain", dogs, **settings), backbone)
    for name in ("00.png", "01.png", "02.png"):
        masked(dogs, name, (0, 0, 99, 99))
    train(tiny_run(tiny_base, tmp_path / "ones", dogs, **settings), backbone)
    assert results(tmp_path / "ones") == results(tmp_path / "plain")
    masked(dogs, "00.png", (20, 20, 30, 30))
    train(tiny_run(tiny_base, tmp_path / "some", dogs, **settings), backbone)
    assert results(tmp_path / "some") != results(tmp_path / "plain")


# Aspect buckets.


def test_buckets_are_the_largest_of_their_width() -> None:
    found = buckets(512, 64)
    assert (512, 512) in found
    assert {(h, w) for w, h in found} == set(found)
    for width, height in found:
        assert width % 64 == height % 64 == 0
        assert min(width, height) >= 256
        assert max(width, height) <= 1024
        assert width * height <= 512 * 512 < max(width * (height + 64), 2 * 512 * 512)
    assert found == [
        (256, 1024), (320, 768), (384, 640), (448, 576), (512, 512),
        (576, 448), (640, 384), (768, 320), (1024, 256),
    ]  # fmt: skip
    assert bucket(1, 1, 512, 64) == (512, 512)
    assert bucket(4000, 3000, 512, 64) == (576, 448)
    assert bucket(1080, 1920, 512, 64) == (384, 640)
    assert bucket(100, 2000, 512, 64) == (256, 1024)


def test_concepts_of_different_shapes_share_a_step(
    backbone64: Backbone, tiny_base: Path, dogs: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """Each concept's loss is what it is alone, whatever the shape of the other's sample."""
    run = tiny_run(
        tiny_base, tmp_path, dogs, cat_pictures, images=Images(resolution=32, buckets=True)
    )
    together = Training(run, backbone64, check_pictures(run))
    assert len(set(together.latents[0].choice.shapes)) == 3
    mixed = 0
    for step in range(6):
        draws = [[Draws("test", n, step, s) for s in range(2)] for n in range(2)]
        features = together.stage.features(draws)
        batch = noisy_batch(together.latents, draws, features, backbone64)
        mixed += batch.x_t[0].shape != batch.x_t[1].shape
        (both,) = losses([batch], together.projections, backbone64)
        for n in range(2):
            (alone,) = losses(
                [noisy_batch([together.latents[n]], [draws[n]], features[n : n + 1], backbone64)],
                together.projections,
                backbone64,
            )
            assert both[n].item() == pytest.approx(alone.item(), rel=1e-12)
    assert mixed


@pytest.mark.slow
def test_a_run_with_everything_is_the_same_run_after_a_stop(
    backbone: Backbone, tiny_base: Path, dogs: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    (dogs / "00.txt").write_text("a dog on [trigger]\ntwo")
    masked(dogs, "01.png", (40, 10, 60, 40))
    settings: dict[str, Any] = {
        "images": Images(resolution=32, buckets=True, views=2),
        "optimizer": Optimizer(batch_size=2),
        "prior": "textreg+output-preservation",
    }
    whole = tiny_run(tiny_base, tmp_path / "whole", dogs, cat_pictures, **settings)
    train(whole, backbone)
    stopped = replace(whole, out=tmp_path / "stopped")
    train_some(stopped, backbone, 2)
    (dogs / "00.txt").write_text("a dog on [trigger]\nthree")
    with pytest.raises(UserError, match="the pictures have changed since"):
        train(stopped, backbone)
    (dogs / "00.txt").write_text("a dog on [trigger]\ntwo")
    train_some(stopped, backbone, 2)
    train(stopped, backbone)
    assert results(stopped.out) == results(whole.out)


def test_captions_reach_stage_two_and_no_text_is_encoded_there(
    backbone: Backbone, tiny_base: Path, dogs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    for n in range(4):
        (dogs / f"{n:02}.txt").write_text(f"caption {n} of a dog")
    run = tiny_run(tiny_base, tmp_path / "run", dogs, inversion=Inversion(steps=0))
    training = Training(run, backbone, check_pictures(run))
    training.advance()
    with monkeypatch.context() as without_text:
        without_text.setattr("textreg.backbone.encode_tokens", None)
        training.take_step()
    (texts,) = training.texts
    assert texts.fill(texts.instance.templates) == [
        f"caption {n} of a <krk1> dog" for n in range(4)
    ]
    draws = [[Draws("test", 7)]]
    n = training.latents[0].choice.pictures(draws[0])[0]
    vector = training.inversion.vectors.detach()[0]
    alone = [
        texts.features([f"caption {n} of a <krk1> dog"], vector, masked=m) for m in (False, True)
    ]
    found = training.stage.features(draws)[0]
    assert any(torch.allclose(found.tokens, a, atol=1e-5) for a in alone)


# Settings and the shell.


def test_new_settings_at_their_defaults_leave_a_runs_name_alone() -> None:
    run = Run(concepts=(Concept(images=Path("data/cat"), noun="cat"),), out=Path("o"))
    assert without_later(Run, plain(run))["images"] == {
        "resolution": None,
        "center_crop": True,
        "flip": True,
        "jitter": True,
        "views": 8,
    }
    assert "masks" not in run.identity()["concepts"][0]
    assert "denoising" not in run.identity()
    assert replace(run, denoising=Denoising(snr_gamma=5)).digest != run.digest
    for other in (Images(buckets=True), Images(captions=False), Images(templates=("a",))):
        assert replace(run, images=other).digest != run.digest


def test_a_record_of_before_these_settings_is_the_same_run(
    backbone: Backbone, tiny_base: Path, dogs: Path, tmp_path: Path
) -> None:
    run = tiny_run(tiny_base, tmp_path / "run", dogs)
    train_some(run, backbone, 1)
    record = run.out / "run.yaml"
    lines = record.read_text().splitlines(keepends=True)
    new = ("buckets:", "masks:", "captions: true", "templates: []")
    record.write_text("".join(line for line in lines if not line.strip().startswith(new)))
    assert RunFolder(run).same_run()
    assert not RunFolder(replace(run, images=Images(buckets=True))).same_run()


def test_the_shell_understands_kohyas_folders_and_a_prompts_file(
    tiny_base: Path, dogs: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    image = tmp_path / "img"
    image.mkdir()
    dogs.rename(image / "10_sks dog")
    (tmp_path / "prompts.txt").write_text("[trigger] in bed\n\na dog\n")
    seen: list[Run] = []
    monkeypatch.setattr(
        "textreg.commands.train.run_with_progress", lambda run, *_: seen.append(run) or 0
    )
    words = ["train", str(image), "--base", str(tiny_base), "--out", str(tmp_path / "run")]
    assert main([*words, "--prompts_file", str(tmp_path / "prompts.txt")]) == 0
    (run,) = seen
    assert run.images.templates == ("[trigger] in bed", "a dog")
    assert run.concepts == (Concept(images=image, noun="dog", identifier="<sks>"),)
    assert main([*words, "--prompts-file", str(tmp_path / "none.txt")]) == 2
    assert capsys.readouterr().err.strip().endswith("none.txt: No such file or directory")
    (image / "3_vox cat").mkdir()
    assert main(words) == 0
    assert [(c.name, c.identifier, c.noun) for c in seen[1].concepts] == [
        ("10_sks dog", "<sks>", "dog"),
        ("3_vox cat", "<vox>", "cat"),
    ]
