"""Faults 4, 5: whichever system call of an export fails or is the last, each file is whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_checkpoint_writes import FAULTS, Killed, strike

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import TARGETS, export
from textreg.errors import UserError

FACTS = Facts(base="tiny", prediction_type="epsilon")


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=torch.arange(6.0),
        factors={f"{layer}.{to}": (torch.ones(2, 6), torch.ones(5, 2)) for to in ("to_k", "to_v")},
        alpha=2.0,
        digest="d",
    )


@pytest.fixture(scope="module")
def whole(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of the export that nothing strikes."""
    folder = tmp_path_factory.mktemp("whole")
    export(adapter, folder, TARGETS, FACTS)
    found = contents(folder)
    assert len(found) == 7
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "fault",
    ["ENOSPC", *(pytest.param(f, marks=pytest.mark.slow) for f in FAULTS if f != "ENOSPC")],
)
def test_every_call_of_an_export(
    fault: str,
    adapter: Adapter,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """What is there under its name has the right bytes, and the same export completes the rest."""
    struck = 0
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        said = ""
        with monkeypatch.context() as patch:
            made = strike(patch, at, FAULTS[fault])
            try:
                export(adapter, folder, TARGETS, FACTS)
            except UserError as error:
                said = str(error)
            except Killed:
                pass
        if len(made) < at:
            break
        struck += 1
        assert "\n" not in said
        assert str(folder) in said or fault == "killed"
        named = {k: v for k, v in contents(folder).items() if not k.endswith(".partial")}
        assert named.items() <= whole.items()
        export(adapter, folder, TARGETS, FACTS)
        assert contents(folder) == whole
    assert struck > 40
    record_property("faults", struck)
