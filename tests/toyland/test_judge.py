"""The judge reads fresh renders right, and its features tell individuals apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from textreg.toyland import Judge, path
from textreg.toyland.attributes import HEADS, Picture, numbered_picture
from textreg.toyland.captions import plain_prompt
from textreg.toyland.concept_set import concept_pictures
from textreg.toyland.judge_report import report
from textreg.toyland.judge_training import spoil
from textreg.toyland.scoring import render_tensor, shares_right


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.fixture(scope="module")
def fresh() -> tuple[list[Picture], torch.Tensor]:
    pictures = [numbered_picture("evaluate", 5_000_000 + k) for k in range(200)]
    return pictures, render_tensor(pictures)


def test_reads_real_renders(judge: Judge, fresh: tuple[list[Picture], torch.Tensor]):
    pictures, images = fresh
    shares = shares_right(judge, images, pictures, [plain_prompt(p).stated for p in pictures])
    assert min(shares["class"], shares["colour"], shares["scene"], shares["style"]) >= 0.97
    assert shares["accessory"] >= 0.96


def test_reads_spoiled_renders(judge: Judge, fresh: tuple[list[Picture], torch.Tensor]):
    pictures, images = fresh
    spoiled = spoil(images, torch.Generator().manual_seed(0))
    shares = shares_right(judge, spoiled, pictures, [plain_prompt(p).stated for p in pictures])
    assert min(shares["class"], shares["scene"]) >= 0.97


def test_probabilities_and_features(judge: Judge, fresh: tuple[list[Picture], torch.Tensor]):
    images = fresh[1][:5]
    read = judge.read(images)
    assert {head: probability.shape for head, probability in read.items()} == {
        head: (5, len(values)) for head, values in HEADS.items()
    }
    for probability in read.values():
        torch.testing.assert_close(probability.sum(1), torch.ones(5))
    features = judge.features(images)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5))


def test_features_know_the_individual(judge: Judge):
    same = concept_pictures("cat")
    other = [replace(p, colour="green", accent="red", marking="striped") for p in same]
    mine, theirs = (judge.features(render_tensor(group)) for group in (same, other))
    alike = (mine @ mine.T)[~torch.eye(len(same), dtype=torch.bool)].mean()
    assert alike > (mine @ theirs.T)[~torch.eye(len(same), dtype=torch.bool)].mean() + 0.1


def test_texts_find_their_pictures(judge: Judge, fresh: tuple[list[Picture], torch.Tensor]):
    pictures, images = fresh
    texts = [plain_prompt(picture).text for picture in pictures]
    scores = judge.text_features(texts) @ judge.match_features(images).T
    # Pictures of one prompt cannot be told apart, so equal texts count as found.
    found = [texts[k] == texts[row] for row, k in enumerate(scores.argmax(1).tolist())]
    assert sum(found) / len(found) >= 0.9


def test_unknown_words_count_as_none(judge: Judge):
    assert torch.equal(*(judge.text_features([text]) for text in ("a cat", "a zzyzx cat")))


def test_probabilities_are_calibrated(judge: Judge, fresh: tuple[list[Picture], torch.Tensor]):
    pictures, images = fresh
    spoiled = judge.read(spoil(images, torch.Generator().manual_seed(1)))["colour"]
    labels = torch.tensor([picture.labels() for picture in pictures])[
        :, list(HEADS).index("colour")
    ]
    right = (spoiled.argmax(1) == labels).float().mean()
    assert abs(spoiled.max(1).values.mean() - right) < 0.05


@pytest.mark.slow
def test_reads_through_the_autoencoder(judge: Judge):
    heads = report(path(), 600, judge)["heads"]
    for head in ("noun", "colour", "scene", "style"):
        assert heads[head]["renders"] >= 0.98
        assert heads[head]["reconstructed"] >= heads[head]["renders"] - 0.01
