"""The tables in LaTeX: what LaTeX would read is escaped, and the files compile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from records import entry, report_row, table2_row

from prune_cli.report.reference import against_report
from prune_cli.report.table import Cell, Row, Table
from prune_cli.report.tables import table1, table2

SPECIALS = "% # & _ $ { } \\ ~ ^ < > | [ ] * ± → —"
SEVERAL = [entry("snip_magnitude", 90.0), entry("snip_magnitude", 50.0, recipe={"epochs": 20}), entry("random", 40.0)]
PAGE = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"


def odd() -> Table:
    """Each special alone, first and last in a row, and in a column."""
    rows = [Row([Cell.of(special), Cell.of(f"{special}x", bold=True), Cell.of("")]) for special in SPECIALS.split()]
    return Table("odd", "", ["[Model]", SPECIALS, "*"], rows)


TABLES = {
    "several settings": table1(SEVERAL),
    "several settings, Table 2": table2(SEVERAL),
    "labels": table2([entry("snip_magnitude", 90.0, model_title="a_b^c"), entry("grasp", 1.0, scorer={"alpha": 0.1})]),
    "beside the report": against_report(table1(report_row())),
    "beside the report, Table 2": against_report(table2(table2_row("imagenet1k"))),
    "units": table1([entry("random", 40.0, removal="recurrence")]),
    "specials": odd(),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_no_row_begins_with_what_the_line_before_would_take(table: Table) -> None:
    lines = table.latex().splitlines()
    assert not [line for line in lines if line.startswith(("[", "*"))]
    assert len(lines) == len(table.rows) + 6


def test_settings_stand_first_in_a_row_as_they_are() -> None:
    assert r"{}[recipe.epochs=10] & ViT-B/16 & 98.0 &" in TABLES["several settings"].latex()


def test_every_special_is_escaped() -> None:
    text = Table("t", "", ["x"], [Row([Cell.of(SPECIALS)])]).latex().splitlines()[4]
    expected = r"\% \# \& \_ \$ \{ \} \textbackslash{} \textasciitilde{} \textasciicircum{} $<$ $>$ $|$ [ ] *"
    assert text == rf"{expected} $\pm$ $\to$ --- \\"


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_it_compiles(table: Table, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.fail("there is no pdflatex: `make latex` installs it from Debian (or install TeX Live with booktabs)")
    table.write(tmp_path)
    (tmp_path / "page.tex").write_text(PAGE % f"\\input{{{table.name}}}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").exists()
    assert "Missing character" not in done.stdout
