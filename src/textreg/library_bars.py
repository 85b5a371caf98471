"""The progress bars of the libraries that load models, held back where ours is drawn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_library_bars() -> Generator[None]:
    """No bar of diffusers or transformers inside; behind it they are as before."""
    from diffusers.utils import logging as diffusers_bars
    from transformers.utils import logging as transformers_bars

    shown = [x for x in (diffusers_bars, transformers_bars) if x.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
