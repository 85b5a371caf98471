"""Names and folders of base models, and the settings a base brings along. Imports no torch."""

from __future__ import annotations

from pathlib import Path

_EMBEDDED = {"toyland": Path(__file__).parent / "toyland" / "base"}
SETTINGS_FILE = "textreg.yaml"


def embedded_names() -> list[str]:
    """The bases that come with the package."""
    return list(_EMBEDDED)


def local_folder(source: str) -> Path | None:
    """The folder that a base's name stands for, if it is on this machine by that name."""
    if source in _EMBEDDED:
        return _EMBEDDED[source]
    folder = Path(source).expanduser()
    return folder if folder.is_dir() else None


def settings_file(source: str) -> Path | None:
    """The training settings that a base's folder recommends, if it holds any.

    A base of another size wants other learning rates and ranks than Stable Diffusion; any folder
    may bring a textreg.yaml, which stands where a preset would.
    """
    folder = local_folder(source)
    if folder is None or not (folder / SETTINGS_FILE).is_file():
        return None
    return folder / SETTINGS_FILE
