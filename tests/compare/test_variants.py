from pathlib import Path

import pytest

from textreg.compare.variants import variants_of
from textreg.errors import UserError


def test_settings_follow_their_prior() -> None:
    found = variants_of("none,textreg,textreg:textreg.hard=true,textreg.edit_weight=0.001")
    assert [(v.label, v.settings) for v in found] == [
        ("none", {"prior": "none"}),
        ("textreg", {"prior": "textreg"}),
        (
            "textreg:textreg.hard=true,textreg.edit_weight=0.001",
            {"prior": "textreg", "textreg.hard": True, "textreg.edit_weight": 0.001},
        ),
    ]
    assert found[2].folder == "textreg_textreg.hard=true_textreg.edit_weight=0.001"


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "priors.yaml"
    path.write_text(
        "none: {}\nhard:\n  prior: textreg+context\n  textreg: {hard: true}\n  mask: {ratio: 0.5}\n"
    )
    assert [(v.label, v.settings) for v in variants_of(str(path))] == [
        ("none", {"prior": "none"}),
        ("hard", {"prior": "textreg+context", "textreg.hard": True, "mask.ratio": 0.5}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none,textrg", "no prior 'textrg'; did you mean textreg"),
        ("none", "needs at least 2"),
        ("none,none", "'none' is given twice"),
        ("none,textreg:hard", "'hard' of 'textreg:hard' must be like textreg.hard=true"),
        ("none,textreg:inversion.steps=3", "sets inversion.steps, which all share"),
        ("none,textreg:seed=3", "sets seed, which all share"),
        ("none,textreg:tuning.steps=3", "sets tuning.steps, which all share"),
        ("none,textreg:textreg.form=[", "the value of 'textreg.form=\\['"),
        ("none,textreg:tuning={steps: 5}", "'tuning={steps: 5}' of .* must be like textreg.hard"),
        ("none,textreg:prior.x=1", "sets prior and prior.x, but prior has no settings"),
        ("nowhere.yaml", "nowhere.yaml: No such file"),
    ],
)
def test_bad_words_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        variants_of(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [".", "..", "word", "_hidden"])
def test_names_that_no_folder_or_legend_can_have(tmp_path: Path, label: str) -> None:
    path = tmp_path / "priors.yaml"
    path.write_text(f'none: {{}}\n"{label}": {{prior: gated}}\n')
    with pytest.raises(UserError, match="or is no usable name"):
        variants_of(str(path))
