from pathlib import Path

import pytest

from textreg.errors import UserError
from textreg.evaluate.store import kept_json, publish_json


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_file_holds_a_number_that_json_has_no_word_for(tmp_path: Path, number: float) -> None:
    path = tmp_path / "found.json"
    with pytest.raises(UserError, match=r"found\.json: not written, a number in it is not finite"):
        publish_json(path, {"a": [1.0, {"b": number}]})
    with pytest.raises(UserError, match="try --dtype fp32"):
        kept_json(path, lambda: number)
    assert not list(tmp_path.iterdir())
    assert kept_json(path, lambda: {"a": 1.5}) == {"a": 1.5}
