"""Captions as users have them, and the templates that they become."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from textreg.captions import caption_template, captions_beside, read_metadata
from textreg.config import Concept
from textreg.errors import UserError

DOG = Concept(images=Path("dog"), noun="dog", identifier="<krk1>")
SLOTH = Concept(images=Path("s"), noun="sloth plushie", identifier="<krk1>")
STYLE = Concept(images=Path("s"), noun="painting", learnable_property="style")

TEMPLATES = [
    # The trigger in each of its forms, with and without the noun behind it.
    (DOG, "[trigger] on the beach", "{} on the beach"),
    (DOG, "a photo of [Trigger] dog, smiling", "a photo of {}, smiling"),
    (DOG, "a <krk1> dog and a cat", "a {} and a cat"),
    (DOG, "a <krk1> on a chair", "a {} on a chair"),
    (DOG, "krk1 dog, outdoors", "{}, outdoors"),
    (DOG, "photo of KRK1", "photo of {}"),
    (DOG, "a {} in the snow", "a {} in the snow"),
    (DOG, "[trigger] beside [trigger] dog", "{} beside {}"),
    # No part of another word.
    (DOG, "krk12 with hotdogs", "{}, krk12 with hotdogs"),
    (DOG, "[trigger] doghouse", "{} doghouse"),
    # Without the trigger: at the noun's first mention, else in front.
    (DOG, "a dog chasing a dog", "a {} chasing a dog"),
    (DOG, "A Dog.", "A {}."),
    (DOG, "sitting, grass", "{}, sitting, grass"),
    (SLOTH, "my sloth  plushie in bed", "my {} in bed"),
    (SLOTH, "[trigger] sloth plushie", "{}"),
    (SLOTH, "a plushie", "{}, a plushie"),
    (STYLE, "a painting of a house", "a {} of a house"),
    (STYLE, "a house", "a house, in the style of {}"),
    # A trigger of its own takes the identifier's place.
    (replace(DOG, trigger="<krk1>", identifier="<cell2>"), "a krk1 dog on grass", "a {} on grass"),
    (replace(DOG, trigger="sks"), "sks dog beside krk1", "{} beside krk1"),
    (replace(DOG, trigger="sks"), "a sks dog under two desks", "a {} under two desks"),
    # An identifier that is the noun itself in brackets is only seen with its brackets.
    (Concept(images=Path("d"), noun="dog", identifier="<dog>"), "a dog", "a {}"),
]


@pytest.mark.parametrize(("concept", "caption", "template"), TEMPLATES)
def test_where_the_concepts_words_go(concept: Concept, caption: str, template: str) -> None:
    assert caption_template(caption, concept) == template


def test_a_template_is_its_own_template() -> None:
    for concept, _, template in TEMPLATES:
        assert caption_template(template, concept) == template


def test_captions_beside(tmp_path: Path) -> None:
    (tmp_path / "00.txt").write_bytes(b"\xef\xbb\xbfa dog\n\n  two dogs \r\n")
    (tmp_path / "01.caption").write_text("one")
    assert captions_beside(tmp_path / "00.jpg") == ("a dog", "two dogs")
    assert captions_beside(tmp_path / "01.png") == ("one",)
    assert captions_beside(tmp_path / "02.png") == ()
    for name, content, line in (
        ("03.txt", b"\n", "03.txt: is empty; write the caption of 03.jpg into it"),
        ("03.txt", b"a\n\xff", "03.txt, line 2: not UTF-8; save the file as UTF-8"),
        ("03.txt", b"a\0", "03.txt, line 1: contains a NUL byte"),
        ("03.txt", b"x" * (2**20 + 1), "03.txt: larger than 1 MiB; is it a text of captions?"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as refusal:
            captions_beside(tmp_path / "03.jpg")
        assert str(refusal.value) == line
    (tmp_path / "01.txt").write_text("one")
    with pytest.raises(UserError, match=r"01.jpg: has two caption files, 01.txt and 01.caption"):
        captions_beside(tmp_path / "01.jpg")


def test_metadata_is_what_the_datasets_library_reads(tmp_path: Path) -> None:
    lines = [
        {"file_name": "00.jpg", "text": "a dog\u2028here"},
        {"file_name": "sub/./01.jpg", "text": " two ", "more": 1},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n"
    (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8")
    assert read_metadata(tmp_path) == {"00.jpg": "a dog here", "sub/01.jpg": "two"}
    assert read_metadata(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2: is not JSON"),
        ("[" * 100_000, "line 2: is not JSON"),
        ("[1]", 'line 2: needs the texts "file_name" and "text"'),
        ('{"file_name": "a.jpg"}', 'line 2: needs the texts "file_name" and "text"'),
        ('{"file_name": "a.jpg", "text": " "}', "line 2: needs the texts"),
        ('{"file_name": 1, "text": "x"}', "line 2: needs the texts"),
        ('{"file_name": "../a.jpg", "text": "x"}', "line 2: ../a.jpg is no file below"),
        ('{"file_name": "/a.jpg", "text": "x"}', "line 2: /a.jpg is no file below"),
        ('{"file_name": "a.jpg", "text": "x\\u0000"}', "line 2: a.jpg is no file below"),
        ('{"file_name": "00.jpg", "text": "x"}', "line 2: 00.jpg was named before"),
    ],
)
def test_metadata_that_cannot_be_is_one_line(tmp_path: Path, line: str, why: str) -> None:
    first = '{"file_name": "00.jpg", "text": "a"}\n'
    (tmp_path / "metadata.jsonl").write_text(first + line)
    with pytest.raises(UserError, match=r"^metadata\.jsonl, ") as refusal:
        read_metadata(tmp_path)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)
