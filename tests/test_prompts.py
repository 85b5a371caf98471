"""The pools as exact sets (FORMATS 10), and prompt files of every encoding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textreg.backbone import Backbone
from textreg.concept_texts import ConceptTexts
from textreg.config import Concept, TextReg
from textreg.errors import UserError
from textreg.prompts import (
    class_prompts,
    drift_pools,
    edit_templates,
    instance_templates,
    read_prompt_file,
    templates,
)

CAT = Concept(images=Path("cat"), noun="cat")
STYLE = Concept(images=Path("ink"), noun="painting", learnable_property="style")

INSTANCE = (
    [
        f"a photo of {words} {{}}"
        for words in [
            "a",
            "a clean",
            "a dirty",
            "my",
            "the cool",
            "the",
            "one",
            "the clean",
            "a nice",
            "the nice",
            "the small",
            "the weird",
            "the large",
            "a cool",
            "a small",
        ]
    ]
    + ["the photo of a {}", "a rendering of a {}", "a rendition of a {}", "a rendition of the {}"]
    + [f"a {light} photo of the {{}}" for light in ("dark", "bright")]
    + [
        f"a {kind} photo of {article} {{}}"
        for kind in ("cropped", "close-up", "good")
        for article in ("a", "the")
    ]
)
STYLES = [
    f"{words} in the style of {{}}"
    for words in [
        "a painting",
        "a rendering",
        "a cropped painting",
        "the painting",
        "a clean painting",
        "a dirty painting",
        "a dark painting",
        "a picture",
        "a cool painting",
        "a close-up painting",
        "a bright painting",
        "a cropped painting",
        "a good painting",
        "a close-up painting",
        "a rendition",
        "a nice painting",
        "a small painting",
        "a weird painting",
        "a large painting",
    ]
]
EDIT = (
    [
        f"a {{}} {place}"
        for place in [
            "in the jungle",
            "in the snow",
            "on the beach",
            "on a cobblestone street",
            "on top of pink fabric",
            "on top of a wooden floor",
            "on top of a purple rug in a forest",
            "on top of green grass with sunflowers around it",
            "on top of a mirror",
            "on top of the sidewalk in a crowded street",
            "on top of a dirt road",
            "on top of a white rug",
            "floating on top of water",
            "floating in an ocean of milk",
        ]
    ]
    + [
        f"a {{}} with {thing} in the background"
        for thing in [
            "a city",
            "a mountain",
            "a blue house",
            "a wheat field",
            "a tree and autumn leaves",
            "the Eiffel Tower",
        ]
    ]
    + [f"a {look} {{}}" for look in ("red", "purple", "shiny", "wet", "cube shaped")]
)


def test_instance_pool_is_the_27_and_19_templates() -> None:
    assert len(INSTANCE) == 27
    assert len(STYLES) == 19
    assert sorted(instance_templates(CAT)) == sorted(INSTANCE)
    assert sorted(instance_templates(STYLE)) == sorted(STYLES)


def test_edit_pool_of_head_is_the_25_dreambooth_prompts() -> None:
    assert len(EDIT) == 25
    assert sorted(edit_templates(CAT, "edit_head")) == sorted(EDIT)
    assert sorted(edit_templates(STYLE, "edit_head")) == sorted(STYLES)


def test_our_edit_pool_trains_on_no_test_prompt() -> None:
    ours = edit_templates(CAT, "instance+training")
    assert ours[:27] == instance_templates(CAT) == edit_templates(CAT, "instance")
    assert not set(ours) & set(EDIT)
    assert len(set(ours)) == len(ours) > 40
    assert edit_templates(CAT, "training") == ours[27:]
    assert edit_templates(STYLE, "instance+training") == instance_templates(STYLE)
    assert edit_templates(STYLE, "training") == instance_templates(STYLE)


def test_every_template_has_one_place_for_the_words() -> None:
    for name in ("instance_object", "instance_style", "class_object", "class_style"):
        assert all(t.count("{}") == 1 for t in templates(name))
    for name in ("edit_head", "edit_training"):
        assert all(t.count("{}") == 1 for t in templates(name))
    assert not any("{" in t for t in templates("general") + templates("nouns"))


def test_class_pools() -> None:
    one = TextReg(class_templates="one", null_prompt=False)
    assert class_prompts(CAT, one) == ["a photo of a cat"]
    assert class_prompts(STYLE, one) == ["a photo in the style of painting"]
    several = class_prompts(CAT, TextReg())
    assert several[0] == "a photo of a cat"
    assert several[-1] == ""
    assert len(several) == 5
    own = TextReg(class_prompts=("my {}", "the {}"))
    assert class_prompts(CAT, own) == ["my cat", "the cat", ""]


def test_drift_is_watched_on_prompts_without_the_identifier() -> None:
    pools = drift_pools(CAT)
    assert pools["class"] == ["a photo of a cat"]
    assert pools["null"] == [""]
    assert "a photo of a cat" not in pools["neighbour"]
    assert "a photo of a dog" in pools["neighbour"]
    assert len(pools["general"]) > 20
    assert not any("<krk1>" in p or "{" in p for pool in pools.values() for p in pool)
    assert drift_pools(replace(CAT, noun="Cat"))["neighbour"] == pools["neighbour"]


def test_every_prompt_of_training_fits_the_real_length(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ConceptTexts.of(CAT, backbone)
    texts.tokenizer.model_max_length = 77
    pool = texts.fill(instance_templates(CAT) + edit_templates(CAT, "edit_head")[:5])
    assert bool(texts.tokens(pool).can_mask.all())


@pytest.mark.parametrize(
    ("data", "prompts"),
    [
        (b"a cat\na dog\n", ["a cat", "a dog"]),
        (b"\xef\xbb\xbfa cat\na dog", ["a cat", "a dog"]),
        (b"a cat\r\na dog\r\n", ["a cat", "a dog"]),
        (b"a cat\ra dog\r", ["a cat", "a dog"]),
        (b"\n  a cat \n\n\t\na dog\n\n", ["a cat", "a dog"]),
        (b"a {} cat {\n", ["a {} cat {"]),
        ("un chat \u00e9tonn\u00e9\n\u732b\n".encode(), ["un chat \u00e9tonn\u00e9", "\u732b"]),
    ],
)
def test_prompt_files_that_are_read(tmp_path: Path, data: bytes, prompts: list[str]) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(data)
    assert read_prompt_file(path) == prompts


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("a cat\na dog\n".encode("utf-16"), "line 1: not UTF-8"),
        ("a cat\na dog\n".encode("utf-16-le"), "line 1: contains a NUL byte"),
        ("a cat\nun chat \u00e9tonn\u00e9\n".encode("latin-1"), "line 2: not UTF-8"),
        (b"a cat\na dog\na \0 bird\n", "line 3: contains a NUL byte"),
        (b"a cat\n\xed\xa0\x80\n", "line 2: not UTF-8"),
        (b"", "no prompt in it"),
        (b"\n \n\xef\xbb\xbf"[0:3], "no prompt in it"),
    ],
)
def test_prompt_files_that_are_refused_by_line(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(data)
    with pytest.raises(UserError) as refusal:
        read_prompt_file(path)
    assert str(path) in str(refusal.value)
    assert why in str(refusal.value)


def test_a_prompt_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_prompt_file(path)


def test_a_prompt_too_long_is_cut_as_diffusers_cuts_it_but_never_its_identifier(
    backbone: Backbone,
) -> None:
    texts: Any = ConceptTexts.of(CAT, backbone)
    long = texts.tokens(["a <krk1> cat " + "in the dog " * 20])
    assert long.ids.shape == (1, 24)
    assert bool(long.can_mask[0])
    with pytest.raises(UserError, match="longer than the 24 tokens this base reads"):
        texts.tokens(["in the dog " * 20 + "a <krk1> cat"])
