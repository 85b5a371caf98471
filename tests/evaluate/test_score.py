"""Scores of made-up features, where the truth is known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from textreg.evaluate.featurise import Read
from textreg.evaluate.intervals import measured, resamples, weighted_mean
from textreg.evaluate.left_out import few_prompts, no_scale, undecided_for_few
from textreg.evaluate.questions import Edit
from textreg.evaluate.sampled_drift import sampled_drift, too_few
from textreg.evaluate.score import Seen, score_epsilon, score_features, score_identifier
from textreg.evaluate.shots import Place

COUNT, WIDTH = 48, 12
NOUNS = ("cat", "dog", "boot")
EDITS = (Edit(prompt="a {} in snow", shows={"scene": "snow"}), Edit(prompt="a {} at night"))


def vectors(seed: int, towards: int = 0) -> Tensor:
    """Unit vectors around a coordinate axis."""
    random = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(COUNT, WIDTH, generator=random, dtype=torch.float64)
    x[:, towards] += 1
    return torch.nn.functional.normalize(x, dim=1)


def one_hot(index: list[int], width: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(index), width).float()


def seen(tuned_class: Tensor, *, scenes: list[int], texts: Tensor | None = None) -> Seen:
    """Base pictures lie around axis 0, photos around axis 1."""
    features: dict[Place, Tensor] = {
        ("base", "class"): vectors(0),
        ("tuned", "class"): tuned_class,
        ("base", "class again"): vectors(1),
        ("tuned", "concept"): vectors(2, towards=1),
        ("base", "edits"): vectors(3),
        ("tuned", "edits"): vectors(4),
        ("base", "neighbours"): vectors(5, towards=2),
        ("tuned", "neighbours"): vectors(5, towards=2),
    }
    snow, cat = one_hot([0] * COUNT, 2), one_hot([0] * COUNT, 3)
    dogs = one_hot([1, 2] * (COUNT // 2), 3)
    reads: dict[Place, dict[str, Tensor]] = {place: {"noun": cat} for place in features}
    reads["base", "edits"] = {"scene": snow}
    reads["tuned", "edits"] = {"scene": one_hot(scenes, 2)}
    reads["base", "neighbours"] = reads["tuned", "neighbours"] = {"noun": dogs}
    asked = [0, 1] * (COUNT // 2)
    return Seen(
        reads={p: Read(features=f, attributes=reads[p]) for p, f in features.items()},
        photos=vectors(9, towards=1)[:5],
        edit_texts=texts,
        attributes={"noun": NOUNS, "scene": ("snow", "night")} if texts is None else {},
        questions=dict.fromkeys(features, asked)
        | {("base", "class"): [0] * COUNT, ("tuned", "class"): [0] * COUNT},
    )


def scored(of: Seen) -> dict[str, dict]:
    return score_features(of, noun="cat", neighbours=("dog", "boot"), edits=EDITS, seed=0)


def test_an_untouched_class_held_whatever_the_concept_does() -> None:
    found = scored(seen(vectors(0), scenes=[0] * COUNT))
    held = found["class"]
    assert held["kid"]["value"] == pytest.approx(0, abs=1e-12)
    assert held["kid"]["interval"] == pytest.approx([0, 0], abs=1e-12)
    assert held["cmmd"]["floor"]["value"] > 0.01
    assert held["vendi"]["ratio"]["interval"] == pytest.approx([1, 1])
    verdicts = {name: held[name]["verdict"] for name in held}
    assert verdicts == {
        "kid": "held",
        "cmmd": "held",
        "vendi": "kept",
        "diversity": "kept",
        "judged": "kept",
        "likeness": "held",
    }
    assert found["fidelity"]["verdict"] == "learned"
    assert found["fidelity"]["score"] == pytest.approx(
        float((vectors(2, towards=1) @ vectors(9, towards=1)[:5].T).mean())
    )
    assert found["neighbour"]["judged"]["base"] == 1


def test_a_class_that_became_the_concept_moved() -> None:
    found = scored(seen(vectors(7, towards=1), scenes=[0] * COUNT))["class"]
    assert found["kid"]["verdict"] == found["cmmd"]["verdict"] == "moved"
    assert found["likeness"]["verdict"] == "moved"


def test_a_class_that_narrowed_lost_diversity() -> None:
    found = scored(seen(vectors(0)[:1].expand(COUNT, -1), scenes=[0] * COUNT))["class"]
    assert found["vendi"]["value"] == pytest.approx(1)
    assert found["diversity"]["value"] == pytest.approx(0, abs=1e-12)
    assert found["vendi"]["verdict"] == found["diversity"]["verdict"] == "lost"


def sampled(count: int, shift: float, number: int) -> dict[str, str]:
    """Verdicts of class pictures that all moved by one real shift, of `count` a side."""

    def drawn(seed: int, towards: int, moved: float = 0.0) -> Tensor:
        random = torch.Generator().manual_seed(10 * number + seed)
        x = 0.15 * torch.randn(count, WIDTH, generator=random, dtype=torch.float64)
        x[:, towards] += 1
        x[:, 3] += moved
        return torch.nn.functional.normalize(x, dim=1)

    found = sampled_drift(drawn(0, 0), drawn(0, 0, shift), drawn(1, 0), drawn(2, 2), 0)
    return {name: found[name]["verdict"] for name in ("kid", "cmmd") if name in found}


@pytest.mark.thorough
def test_fewer_pictures_never_make_it_look_held() -> None:
    """One real shift, in twenty draws; and none at all."""
    said = {n: [sampled(n, 0.5, number) for number in range(20)] for n in (8, 16, 64)}
    for name in ("kid", "cmmd"):
        words = {n: [each[name] for each in some if name in each] for n, some in said.items()}
        assert not any("held" in some for some in words.values())
        assert words[64] == ["moved"] * 20
        assert words[16].count("moved") <= words[64].count("moved")
    for count in (8, 16, 64):
        assert set(sampled(count, 0.0, 0).values()) == {"held"}
    # A shift of no account, surely above 0 with many pictures, is held by them as well.
    assert set(sampled(64, 0.15, 0).values()) == {"held"}


@pytest.mark.parametrize(("followed", "verdict"), [(24, "kept"), (22, "undecided"), (4, "lost")])
def test_editability_is_the_share_that_shows_what_was_asked(followed: int, verdict: str) -> None:
    """Only edits that say what they show count: every second picture."""
    scenes = [0 if n < 2 * followed else 1 for n in range(COUNT)]
    found = scored(seen(vectors(0), scenes=scenes))["editability"]
    assert found["score"] == pytest.approx(followed / 24)
    assert found["base"] == 1
    assert found["verdict"] == verdict
    assert [row["score"] for row in found["edits"]] == [pytest.approx(followed / 24), None]
    assert found["pictures"] == 24


def test_without_attributes_editability_is_the_cosine_to_the_prompt() -> None:
    texts = torch.eye(WIDTH, dtype=torch.float64)[:2]
    found = scored(seen(vectors(0), scenes=[0] * COUNT, texts=texts))["editability"]
    expected = [float(vectors(4)[n] @ texts[n % 2]) for n in range(COUNT)]
    assert found["score"] == pytest.approx(sum(expected) / COUNT)
    assert found["kind"] == "cosine to the prompt"
    without_text = replace(seen(vectors(0), scenes=[0] * COUNT, texts=texts), edit_texts=None)
    assert scored(without_text)["editability"] is None


def test_epsilon_is_seen_against_what_the_prompt_does() -> None:
    probes = {
        "class": {"drift": [0.0, 0.0] * 4, "prompt_effect": [0.2, 0.4] * 4},
        "neighbour": {"drift": [0.01, 0.03] * 4, "prompt_effect": [0.1, 0.3] * 4},
        "null": {"drift": [0.03, 0.03] * 4, "prompt_effect": [0.0, 0.0] * 4},
    }
    asked = {"class": ["cat"] * 8, "neighbour": [f"noun {n}" for n in range(8)], "null": [""] * 8}
    found = score_epsilon(probes, asked, 0)
    assert found["class"]["value"] == 0
    assert found["class"]["verdict"] == "held"
    assert found["neighbour"]["value"] == pytest.approx(0.02)
    # 10 % of each prompt's own effect, so the share is sure although the drift is not.
    assert found["neighbour"]["share"]["interval"] == pytest.approx([0.1, 0.1])
    low, high = found["neighbour"]["interval"]
    assert 0.01 <= low < 0.02 < high <= 0.03
    # The empty prompt does nothing; the class prompt's effect is its scale.
    assert found["null"]["share"]["value"] == pytest.approx(0.1)


def test_few_prompts_decide_nothing() -> None:
    probes = {"class": {"drift": [0.0] * 7, "prompt_effect": [0.2] * 7}}
    assert score_epsilon(probes, {"class": ["cat"] * 7}, 0)["class"]["verdict"] == "undecided"


@pytest.mark.parametrize("pool", ["class_elsewhere", "neighbour", "general"])
def test_other_noise_on_a_prompt_is_no_other_prompt(pool: str) -> None:
    """Four prompts twice know as much as four; eight prompts are what they always were."""
    drift = [0.001, 0.002, 0.003, 0.004, 0.003, 0.002, 0.001, 0.008]
    probe = {"drift": drift, "prompt_effect": [1.0] * 8}
    names = [f"prompt {n}" for n in range(8)]
    eight = score_epsilon({pool: probe}, {pool: names}, 0)[pool]
    values = torch.tensor(drift, dtype=torch.float64)
    each = measured(weighted_mean(values, resamples(8, 0, "epsilon", pool)))
    assert (eight["value"], eight["interval"]) == (each.value, [each.low, each.high])
    assert (eight["prompts"], eight["verdict"]) == (8, "held")
    # Toyland's cat: seven neighbours, the first of them asked twice.
    seven = score_epsilon({pool: probe}, {pool: [*names[:7], names[0]]}, 0)[pool]
    assert (seven["value"], seven["prompts"], seven["verdict"]) == (each.value, 7, "held")
    four = score_epsilon({pool: probe}, {pool: names[:4] * 2}, 0)[pool]
    means = values.reshape(2, 4).mean(0)
    pairs = measured(weighted_mean(means, resamples(4, 0, "epsilon", pool)))
    assert four["value"] == pytest.approx(each.value)
    assert four["interval"] == pytest.approx([pairs.low, pairs.high])
    assert (four["prompts"], four["verdict"]) == (4, "undecided")
    five = score_epsilon({pool: probe}, {pool: names[:5] + names[:3]}, 0)[pool]
    six = score_epsilon({pool: probe}, {pool: names[:6] + names[:2]}, 0)[pool]
    assert (five["verdict"], six["verdict"]) == ("undecided", "held")


def test_pools_that_went_round_are_named() -> None:
    shares = {pool: {"prompts": 8} for pool in ("class_elsewhere", "general")}
    row = {"concept": "cat", "drift": {"epsilon_shares": shares | {"neighbour": {"prompts": 4}}}}
    assert few_prompts(row, 8) == [
        "cat: a verdict on drift of other nouns: of 4 different prompts, it needs 6: name more "
        "neighbours in --prompts"
    ]
    # As many as were asked for: the number of prompts is what is too small.
    assert few_prompts(row, 4) == []


def test_identifier_numbers_are_means() -> None:
    states = {"change": [0.2, 0.4], "attention": [0.1, 0.1]}
    probe = {"text": [0.9, 0.7], "neighbour": [0.2], "unmasked": states, "masked": states}
    found = score_identifier(probe, 0)
    assert found["text"]["value"] == pytest.approx(0.8)
    assert found["leakage"]["masked"]["value"] == pytest.approx(0.3)
    assert found["attention"]["unmasked"]["interval"] == pytest.approx([0.1, 0.1])


def first(full: Seen, count: int) -> Seen:
    """The first pictures of each pool."""
    reads = {
        place: Read(
            features=read.features[:count],
            attributes={name: values[:count] for name, values in read.attributes.items()},
        )
        for place, read in full.reads.items()
    }
    asked = {place: numbers[:count] for place, numbers in full.questions.items()}
    return replace(full, reads=reads, questions=asked)


def test_too_few_pictures_for_a_number() -> None:
    assert too_few(16) == []
    assert too_few(8) == ["kid needs 16 pictures a side, there are 8: --num-images 16"]
    full = seen(vectors(0), scenes=[0] * COUNT)
    assert {"kid", "cmmd"} <= scored(full)["class"].keys()
    found = scored(first(full, 8))["class"]
    assert "kid" not in found
    assert "cmmd" in found


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_pictures_are_shown_and_decide_nothing(count: int) -> None:
    """Whatever they show: a learned concept, a class that became it, edits that were lost."""
    whole = seen(vectors(7, towards=1), scenes=[1] * COUNT)
    found, full = scored(first(whole, count)), scored(whole)
    verdicts = {
        "fidelity": "learned",
        "editability": "lost",
    }
    for name, otherwise in verdicts.items():
        assert 0 <= found[name]["score"] <= 1
        assert (found[name]["verdict"], full[name]["verdict"]) == ("undecided", otherwise)
    for name in ("likeness", "judged"):
        assert found["class"][name]["verdict"] == "undecided"
    assert full["class"]["likeness"]["verdict"] == "moved"
    assert full["class"]["judged"]["verdict"] == "kept"
    assert found["neighbour"]["judged"]["verdict"] == "undecided"
    row = {"concept": "cat", "noun": "cat", "drift": found} | found
    lines = undecided_for_few(row, 2)
    assert lines[0] == f"cat: a verdict on fidelity: of {count} pictures, it needs 8"
    assert lines[4] == (
        f"cat: a verdict on other nouns still read as such: of {count} pictures, it needs 8, 23 to "
        "be kept: --num-images 48"
    )
    assert len(lines) == 5


def test_what_can_never_be_kept_is_said() -> None:
    whole = seen(vectors(0), scenes=[0] * COUNT)
    for count, neighbours, said in (
        (22, 7, ["cat", "other nouns"]),
        (23, 7, []),
    ):
        found = scored(first(whole, count))
        row = {"concept": "cat", "noun": "cat", "drift": found} | found
        lines = undecided_for_few(row | {"editability": {"score": None}}, neighbours)
        assert lines == [
            f"cat: a verdict on {name} still read as such: of {count} pictures, it needs 23 to be "
            f"kept: --num-images {images}"
            for name, images in zip(said, (23, 56), strict=False)
        ]
        verdicts = {found[pool]["judged"]["verdict"] for pool in ("class", "neighbour")}
        assert verdicts == ({"undecided"} if said else {"kept"})


def test_a_noun_in_capitals_is_the_same_noun() -> None:
    whole = seen(vectors(0), scenes=[0] * COUNT)
    found = score_features(whole, noun="Cat", neighbours=("DOG", "Boot"), edits=EDITS, seed=0)
    assert found == scored(whole)
    assert found["class"]["judged"]["value"] == 1


def test_few_pictures_of_other_nouns_are_no_scale() -> None:
    """An untouched class is held against six pictures, and against nothing else."""
    x, again, nouns = vectors(0), vectors(1), vectors(5, towards=2)
    for count in (1, 2, 5, 6, 7):
        found = sampled_drift(x, x, again, nouns[:count], 0)
        for name in ("kid", "cmmd"):
            assert (found[name]["scale"] is None) == (count < 6)
            assert found[name]["verdict"] == ("undecided" if count < 6 else "held")
        row = {"concept": "cat", "drift": {"class": found}}
        line = "of 5 pictures of other nouns there is no scale, it needs 6: --num-images 20"
        said = [f"cat: a verdict on kid and cmmd: {line}"] if count < 6 else []
        assert no_scale(row, 5, 10) == said
