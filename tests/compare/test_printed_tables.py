"""What a comparison shows at the terminal."""

from pathlib import Path
from typing import Any

import pytest

from textreg.commands.compare import _print_tables
from textreg.commands.progress import new_progress


@pytest.mark.parametrize("label", ["gated:textreg.class_prompts=[red]", "a [/b] c"])
def test_brackets_of_a_label_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    """They are no colours, and no ends of any."""
    number = {"value": 0.25, "interval": [0.125, 0.5]}
    entry = {"steps": 4, "seconds": number, "fidelity": number}
    summary = {"reference": label, "steps": {label: entry}}
    content: dict[str, Any] = {"summary": summary, "left_out": []}
    _print_tables(content, tmp_path)
    printed = capsys.readouterr().out
    assert printed.count(label) == 2
    assert "[0.12, 0.50]" in printed


def test_brackets_of_a_folder_are_shown() -> None:
    progress = new_progress(shown=False)
    progress.add_task("learning", note="cells/[b] cat[/x]/seed-0")
    column: Any = progress.columns[-1]
    assert column.render(progress.tasks[0]).plain == "cells/[b] cat[/x]/seed-0"
