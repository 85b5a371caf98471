"""What docs/formats.md shows is executed."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from textreg.adapter.consumers import CONSUMERS
from textreg.adapter.embedding_file import read_embedding
from textreg.parser import parser

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")


def test_its_commands_are_commands() -> None:
    lines = re.findall(r"^    textreg (.+?)(?:  .*)?$", PAGE, re.MULTILINE)
    assert len(lines) == 6
    assert [parser().parse_args(shlex.split(line)).verb for line in lines] == (
        ["export"] * 4 + ["import"] * 2
    )


def test_its_versions_are_those_of_the_rules() -> None:
    for consumer in CONSUMERS.values():
        assert f"{consumer.name} {consumer.read_in}" in PAGE


@pytest.mark.parametrize("form", ["A1111", "diffusers"])
def test_its_converter_converts(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = torch.arange(6.0)
    saved = {
        "A1111": {"string_to_token": {"*": 265}, "string_to_param": {"*": vector[None]}},
        "diffusers": {"<krk1>": vector},
    }[form]
    torch.save(saved, tmp_path / "krk1.pt")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(program, "docs/formats.md", "exec"), {})
    assert read_embedding(tmp_path / "krk1.safetensors").vector.equal(vector)
