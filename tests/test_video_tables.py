"""The tables of the video study are those of its packed numbers, and the results page quotes them as they are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DIFFERENCE = re.compile(r"\*{0,2}[+−][\d.]+ \([+−][\d.]+ … [+−][\d.]+\)\*{0,2}")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/video_tables.py."""
    spec = importlib.util.spec_from_file_location("video_tables", ROOT / "tools/video_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tool_writes(tool: ModuleType) -> None:
    assert tool.PAGE.read_text(encoding="utf-8").splitlines() == list(tool.lines())


def test_the_results_page_quotes_differences_as_they_are(tool: ModuleType) -> None:
    """Each row of differences on the results page stands, cell by cell, in a row of the same claim and source."""
    rows = [line.split(" | ", 2) for line in tool.lines() if DIFFERENCE.search(line)]
    known = {(claim.strip("| "), source, cells.strip(" |")) for claim, source, cells in rows}
    page = (ROOT / "docs/results-video.md").read_text(encoding="utf-8")
    rows_of_page = [line for line in page.splitlines() if line.startswith("|") and DIFFERENCE.search(line)]
    quoted = [line.split(" | ", 2) for line in rows_of_page if line.count(" | ") == 6]
    assert quoted
    assert set(DIFFERENCE.findall("".join(rows_of_page))) <= set(DIFFERENCE.findall("".join(tool.lines())))
    for claim, source, cells in quoted:
        assert (claim.strip("| "), source, cells.strip(" |")) in known
