"""A folder in which the documented commands find what they name, and their result in it."""

import sys
from pathlib import Path

import pytest
from seed_commands import SHORT, TRAINING, lay_out, words_of

import textreg.learning
from textreg.legacy import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, cat_pictures: Path) -> Path:
    """The folder in which the training command was run; a test that needs it enters it."""
    place = tmp_path_factory.mktemp("repository")
    lay_out(place, tiny_base, cat_pictures)
    script, *words = words_of(TRAINING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", [script])
        assert train.main([*words, *SHORT]) == 0
    return place


@pytest.fixture
def place(
    tmp_path: Path, tiny_base: Path, cat_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A fresh folder to run the commands in, without model cards."""
    lay_out(tmp_path, tiny_base, cat_pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(textreg.learning, "write_cards", lambda run, backbone: None)
    return tmp_path
