"""docs/reliability.md names a test for each of the forty faults, or says that there is none."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs/reliability.md").read_text(), re.M)


def test_every_fault_has_one_row() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 41))


def test_every_test_named_exists() -> None:
    named = 0
    for number, row in ROWS:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests or "none yet" in row, number
        for path, name in tests:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, name
            named += 1
    assert named > 40
