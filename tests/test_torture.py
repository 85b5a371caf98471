"""The figures of docs/reliability.md: what counts as promised."""

from typing import Any

import pytest
from torture import as_promised

ROW = {"exit": 2, "one line": True, "bytes named": True, "goes on to the same": True}


@pytest.mark.parametrize(
    ("part", "promised"),
    [
        ({"kills": 50, "same": 50}, True),
        ({"kills": 50, "same": 49}, False),
        ({"kills": 50, "same": 1}, False),
        ({"tests": 6, "passed": 6}, True),
        ({"tests": 6, "passed": 5}, False),
        ({"tests": 6, "passed": 5, "skipped": 1}, True),
        ({"tests": 6, "passed": 6, "failing": 1}, False),
        ({"files": 12, "same": True}, True),
        ({"files": 12, "same": False}, False),
        ({"rows": [ROW, ROW | {"exit": 0, "one line": False}]}, True),
        ({"rows": [ROW, ROW | {"one line": False}]}, False),
        ({"rows": [ROW | {"goes on to the same": False}]}, False),
    ],
)
def test_anything_else_than_promised_is_seen(part: dict[str, Any], promised: bool) -> None:
    assert as_promised(part) is promised
