import argparse
from pathlib import Path
from typing import Any

import pytest

from textreg.commands.train import concepts_of
from textreg.config import Run
from textreg.errors import UserError
from textreg.settings import build_run

FLAGS = {"concepts": [{"images": "data/cat", "noun": "cat"}], "out": "runs/cat", "base": "b/c"}


def file_with(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def test_precedence_is_preset_file_flags(tmp_path: Path) -> None:
    file = file_with(tmp_path, "textreg: {edit_weight: 0.5}\ntuning: {rank: 3, steps: 7}\n")
    run = build_run(FLAGS | {"tuning.rank": 2}, preset="original", file=file)
    assert run.textreg.class_templates == "one"  # preset
    assert run.textreg.edit_weight == 0.5  # file over preset
    assert run.tuning.steps == 7
    assert run.tuning.rank == 2  # flag over file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tunning: {rank: 3}", "unknown key tunning; did you mean tuning?"),
        ("tuning: {rnk: 3}", "unknown key tuning.rnk; did you mean rank?"),
        ("concepts: [{images: x, noun: y, identifer: z}]", "did you mean identifier?"),
        ("tuning: {rank: many}", "tuning.rank is 'many'"),
        ("prior: ewc", "--prior ewc: no prior 'ewc'; known: class-images"),
        ("tuning: {rank: 0}", "--rank is 0; it must be at least 1"),
        ("mask: {ratio: 1.5}", "mask.ratio is 1.5"),
        ("- 1", "must hold keys"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    flags = {k: v for k, v in FLAGS.items() if k not in text}
    with pytest.raises(UserError) as caught:
        build_run(flags, file=file_with(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_record_is_a_settings_file(tmp_path: Path) -> None:
    import yaml

    from textreg.config import plain

    run = build_run(FLAGS | {"tuning.rank": 5}, preset="original")
    record = file_with(tmp_path, yaml.safe_dump({"run": plain(run), "pictures": {}}))
    assert build_run({}, file=record) == run


def test_the_record_that_a_run_leaves_is_a_settings_file(tmp_path: Path) -> None:
    from textreg.run_folder import RunFolder

    run = build_run(FLAGS | {"out": tmp_path / "run", "tuning.rank": 5})
    RunFolder(run).claim({}, "the base's hash", {})
    assert build_run({}, file=run.out / "run.yaml") == run


def test_a_base_brings_its_settings(tmp_path: Path) -> None:
    (tmp_path / "textreg.yaml").write_text("tuning: {rank: 4}")
    flags = FLAGS | {"base": str(tmp_path)}
    assert build_run(flags).tuning.rank == 4
    assert (
        build_run(flags, preset="textreg").tuning.rank
        == Run.__dataclass_fields__["tuning"].default_factory().rank
    )


def test_a_weight_that_hard_mode_would_ignore_is_refused(tmp_path: Path) -> None:
    file = file_with(tmp_path, "textreg: {class_weight: 0.05}")
    with pytest.raises(UserError, match=r"class_weight is 0\.05, .*set textreg.hard to false"):
        build_run(FLAGS, file=file)
    soft = build_run(FLAGS | {"textreg.hard": False}, file=file).textreg
    assert (soft.hard, soft.class_weight) == (False, 0.05)
    assert build_run(FLAGS, preset="original", file=file).textreg.class_weight == 0.05


def test_unknown_preset() -> None:
    with pytest.raises(UserError, match="did you mean original"):
        build_run(FLAGS, preset="orginal")


def test_a_file_tells_of_the_concepts_that_flags_name(tmp_path: Path) -> None:
    """By folder; flags before the file, the file before what the folder's name says."""
    for name in ("cat", "teapot", "dog"):
        (tmp_path / name).mkdir()
    file = file_with(
        tmp_path,
        f"concepts:\n- {{images: {tmp_path}/cat, noun: feline, masks: m, identifier: <vox1>}}\n"
        f"- {{images: {tmp_path}/dog/../dog, trigger: rex}}\n- {{images: /nowhere, noun: car}}\n",
    )

    def found(*names: str, **flags: Any) -> list[tuple[Any, ...]]:
        given: dict[str, Any] = {"identifier": None, "noun": None, "property": None} | flags
        folders = [tmp_path / name for name in names]
        concepts = concepts_of(argparse.Namespace(images=folders, config=file, **given))
        run = build_run({"concepts": concepts, "out": "out"}, preset="textreg", file=file)
        return [(c.noun, c.identifier, c.masks, c.trigger) for c in run.concepts]

    cat = ("feline", "<vox1>", Path("m"), None)
    assert found("cat", "teapot", "dog") == [
        cat,
        ("teapot", "<krk2>", None, None),
        ("dog", "<krk3>", None, "rex"),
    ]
    assert found("cat") == [cat]
    file.write_text(file.read_text().replace("<vox1>", "<krk1>"))
    assert [word for _, word, _, _ in found("dog", "cat")] == ["<krk3>", "<krk1>"]
    assert found("cat", noun="cat", identifier="<krk9>") == [("cat", "<krk9>", Path("m"), None)]
    file.write_text("concepts: [{noun: cat}]")
    with pytest.raises(UserError, match="concepts must be a list, each with its folder as images"):
        found("cat")
