from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import yaml

from textreg.annotations import Annotation
from textreg.config import Concept, Images, Run, TextReg
from textreg.errors import UserError
from textreg.evaluate.questions import Edit, questions_for
from textreg.evaluate.subjects import trained_prompts
from textreg.prompts import edit_templates, instance_templates, templates

CAT = Concept(images=Path("cat"), noun="cat")


def test_own_questions_are_held_out(tmp_path: Path) -> None:
    asked = questions_for(CAT, TextReg(), tmp_path)
    prompts = [edit.prompt for edit in asked.edits]
    assert prompts == templates("edit_head")
    assert not {*prompts} & {
        *instance_templates(CAT),
        *edit_templates(CAT, "instance+training"),
    }
    assert "cat" not in asked.neighbours
    assert "dog" in asked.neighbours


def test_a_style_is_asked_of_other_things(tmp_path: Path) -> None:
    style = Concept(images=Path("ink"), noun="painting", learnable_property="style")
    asked = questions_for(style, TextReg(), tmp_path)
    assert Edit(prompt="a dog in the style of {}") in asked.edits


def test_the_users_file_stands_over_the_bases(tmp_path: Path) -> None:
    (tmp_path / "evaluation.yaml").write_text(
        "neighbours: [dog, cat, boot]\ngeneral: [a red boot]\nsteps: 7\nguidance: 4\nsampler: dpm\n"
    )
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "general: [a blue boot]\n"
        'edits: ["a {} in the rain forest", {prompt: "a {} wearing a hat", shows: {worn: hat}}]\n'
    )
    asked = questions_for(CAT, TextReg(), tmp_path, mine)
    assert (asked.neighbours, asked.general) == (("dog", "boot"), ("a blue boot",))
    assert (asked.steps, asked.guidance, asked.sampler) == (7, 4, "dpm")
    assert [edit.prompt for edit in asked.edits] == [
        "a {} in the rain forest",
        "a {} wearing a hat",
    ]
    assert asked.edits[1].shows == {"worn": "hat"}


def test_edits_that_training_used_are_dropped(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text('edits: ["a photo of a {}", "a {} on the moon"]\n')
    asked = questions_for(CAT, TextReg(), tmp_path, mine)
    assert [edit.prompt for edit in asked.edits] == ["a {} on the moon"]
    assert asked.left_out == ("a photo of a {}",)


@pytest.mark.parametrize(
    ("kind", "edits"),
    [
        ("object", ["a {}", "a picture of a {}"]),
        ("style", ["a photo in the style of {}"]),
    ],
)
def test_class_prompts_that_training_pins_are_dropped(
    tmp_path: Path, kind: Literal["object", "style"], edits: list[str]
) -> None:
    """textreg's own as the run's own, which stand in their place."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"edits": [*edits, "a {} on the moon"]}))
    concept = replace(CAT, learnable_property=kind)
    assert questions_for(concept, TextReg(), tmp_path, mine).left_out == tuple(edits)
    own = TextReg(class_prompts=("a drawing of a {}",))
    assert questions_for(concept, own, tmp_path, mine).left_out == ()


def test_the_runs_own_prompts_and_captions_are_dropped(tmp_path: Path) -> None:
    """Those of its prompt file, of its photos' captions, of its class pool and of its prior."""
    own = edit_templates(CAT, "training")[0]
    mine = tmp_path / "mine.yaml"
    used = ["a {} in the tall grass", "my {} asleep", "a {} by the sea", own]
    mine.write_text(yaml.safe_dump({"edits": [*used, "a {} on the moon"]}))
    settings = TextReg(edit_prompts="instance", class_prompts=("a {} by the sea",))
    run = Run(
        concepts=(CAT,),
        base="toyland",
        out=tmp_path,
        prior="textreg+context",
        textreg=settings,
        images=Images(templates=("A [trigger] in the  tall grass",)),
    )
    captioned = [Annotation(), Annotation(captions=("My cat asleep",))]
    trained_on = trained_prompts(run, CAT, captioned)
    asked = questions_for(CAT, settings, tmp_path, mine, trained_on)
    assert [edit.prompt for edit in asked.edits] == ["a {} on the moon"]
    assert asked.left_out == tuple(used)
    # Without all that, no line of it is a training prompt.
    plain = replace(run, prior="textreg", images=Images())
    nothing = trained_prompts(plain, CAT, [Annotation()])
    asked = questions_for(CAT, TextReg(edit_prompts="instance"), tmp_path, mine, nothing)
    assert asked.left_out == ()


def test_training_on_the_test_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 25 edits were training prompts.*--prompts"):
        questions_for(CAT, TextReg(edit_prompts="edit_head"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edit: []", "unknown key edit; known: neighbours, general, edits"),
        ("[1]", "must hold keys"),
        ("{", "not readable as YAML"),
        ("steps: 0", "steps is 0; it must be a whole number from 1 up"),
        ("steps: -3", "steps is -3; it must be a whole number from 1 up"),
        ("sampler: ancestral", "sampler is 'ancestral'; it must be ddim, dpm or euler"),
        ("guidance: high", "guidance is 'high'; it must be a number"),
        ("guidance: -3", "guidance is -3; it must be a number above 0"),
        ("guidance: .nan", "guidance is nan; it must be a number above 0"),
        ("neighbours: dog", "neighbours is 'dog'; it must be a list of nouns"),
        ("general: [1]", "general holds 1"),
        ("edits: [a cat]", "must contain {} exactly once"),
        ("edits: [{promt: 'a {}'}]", "write a prompt, or prompt: and shows:"),
        ("edits: [{prompt: 'a {}', shows: hat}]", "must be like {scene: jungle}"),
        ("edits: [{prompt: 'a {}', shows: {hat: yes}}]", "must be like {scene: jungle}"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises(UserError) as error:
        questions_for(CAT, TextReg(), tmp_path, mine)
    assert message in str(error.value)
    assert str(mine) in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: No such file"):
        questions_for(CAT, TextReg(), tmp_path, tmp_path / "nowhere.yaml")


def test_the_concepts_own_noun_is_no_neighbour(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("neighbours: [cat]\n")
    with pytest.raises(UserError, match="no neighbour noun is left beside 'cat'"):
        questions_for(CAT, TextReg(), tmp_path, mine)
    mine.write_text("neighbours: [cat, Toy, DOG, toy car, boot]\n")
    capitals = Concept(images=Path("cat"), noun="Toy Cat")
    assert questions_for(capitals, TextReg(), tmp_path, mine).neighbours == (
        "DOG",
        "toy car",
        "boot",
    )
