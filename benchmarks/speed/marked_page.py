"""Pages whose tables stand between marks: the text is ours, what is between comes from JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(report: Mapping[str, Any]) -> str:
    """The hardware, versions and commit of a report, in a line."""
    packages = report["environment"]["packages"]
    dirty = ", with changes" if report["changed_since"] else ""
    pages = ", in large pages" if report.get("large_pages", "").endswith("; asked for") else ""
    return (
        f"{report['environment']['gpu'] or report['hardware']}, {report['memory_gibibytes']} GiB, "
        f"torch {packages['torch']}, diffusers {packages['diffusers']}, commit {report['commit']}"
        f"{dirty}, load before {report['load_average']}{pages}"
    )


def filled(text: str, blocks: Mapping[str, str], name: str) -> str:
    """The page with what stands between the marks of each block written anew.

    Args:
        text: the page; block "x" stands between <!-- x --> and <!-- end of x -->.
        blocks: by name.
        name: the page's, for errors.

    Raises:
        ValueError: the marks of a block are missing.
    """
    for block, inside in blocks.items():
        begin, end = f"<!-- {block} -->", f"<!-- end of {block} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{name} has no marks {begin} ... {end}")
        written = f"{begin}\n\n{inside}\n\n{end}"
        text = pattern.sub(lambda _, written=written: written, text)
    return text
