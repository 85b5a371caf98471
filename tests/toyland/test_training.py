"""The small parts of the build: tokenizer, schedule, resume, group normalisation, concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from textreg.toyland import concept
from textreg.toyland.dataset import Pictures, render_shards, write_shards
from textreg.toyland.denoiser import draw_timesteps
from textreg.toyland.group_norm import QuickGroupNorm, use_plain_group_norm, use_quick_group_norm
from textreg.toyland.training import Training, learning_rate
from textreg.toyland.vocabulary import learn_merges
from textreg.toyland.world import render

if TYPE_CHECKING:
    from pathlib import Path


def test_merges_by_hand():
    words = {"aab": 3, "ab": 2}
    assert learn_merges(words, 1) == [("a", "b</w>")]
    assert learn_merges(words, 9) == [("a", "b</w>"), ("a", "ab</w>")]


def test_learning_rate_rises_holds_and_falls_to_zero():
    rates = [learning_rate(step, 100, 1.0, 10, 0.3) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:70] == [1.0] * 60
    assert rates[100] == 0


def fit(folder: Path, steps: int, until: int) -> Training:
    torch.manual_seed(0)
    training = Training(
        folder,
        "line",
        {"line": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))},
        steps=steps,
        peak=0.1,
        device="cpu",
        warmup=2,
    )
    while training.step < until:
        generator = torch.Generator().manual_seed(training.step)
        x = torch.randn(8, 3, generator=generator)
        training.update({"loss": (training.modules["line"](x) - x[:, :1]).square().mean()})
    return training


def test_resumed_training_equals_a_straight_one(tmp_path: Path):
    straight = fit(tmp_path / "straight", 12, 12)
    fit(tmp_path / "broken", 12, 7).save()
    resumed = fit(tmp_path / "broken", 12, 12)
    for first, second in zip(straight.averages, resumed.averages, strict=True):
        assert torch.equal(first, second)
    for name, buffer in straight.buffers.items():
        assert torch.equal(buffer, resumed.buffers[name])


def test_quick_group_norm_equals_the_plain_one():
    torch.manual_seed(0)
    norm = nn.Sequential(nn.GroupNorm(4, 16))
    nn.init.normal_(norm[0].weight)
    x = torch.randn(3, 16, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    weights = [x, norm[0].weight, norm[0].bias]
    upstream = torch.randn(3, 16, 5, 5)
    plain = [norm(x), *torch.autograd.grad(norm(x), weights, upstream)]
    use_quick_group_norm(norm)
    assert isinstance(norm[0], QuickGroupNorm)
    quick = [norm(x), *torch.autograd.grad(norm(x), weights, upstream)]
    for first, second in zip(plain, quick, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    use_plain_group_norm(norm)
    assert type(norm[0]) is nn.GroupNorm


def test_timesteps_cover_the_range_and_favour_the_middle():
    t = draw_timesteps(4000, torch.Generator().manual_seed(0))
    assert t.min() >= 0
    assert t.max() <= 999
    assert 0.52 < ((t > 250) & (t < 750)).float().mean() < 0.68


def test_shards_hold_the_training_pictures(tmp_path: Path):
    write_shards(tmp_path, "train", 3, [1])
    (tmp_path / "pictures-001.npy").rename(tmp_path / "kept.npy")
    render_shards(tmp_path, "train", 3, 2)
    pictures = Pictures(tmp_path, "train", 3, 2)
    assert len(pictures) == 6
    drawn = Image.fromarray(pictures.pixels([4])[0])
    assert drawn.tobytes() == render(pictures.attributes(4)).tobytes()


def test_concept_writes_pictures_and_their_description(tmp_path: Path):
    first = concept(3, tmp_path / "a")
    second = concept(3, tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len({p.read_bytes() for p in first}) == len(first) >= 4
    text = yaml.safe_load((tmp_path / "a" / "concept.yaml").read_text())
    assert set(text) == {"noun", "prompts"}
    assert all("{}" in prompt for prompt in text["prompts"])
