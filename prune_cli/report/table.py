"""A table of cells, each a few pieces of text of which the best is bold: as CSV, Markdown and LaTeX, the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from prune_cli.runs.files import write_csv, write_text

LATEX = {"%": r"\%", "#": r"\#", "&": r"\&", "_": r"\_", "→": r"$\to$", "±": r"$\pm$", "—": "---"}


@dataclass(frozen=True)
class Cell:
    """Pieces of text, (text, bold)."""

    pieces: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, text: str, bold: bool = False) -> Cell:
        """A cell of one piece."""
        return cls(((text, bold),))

    @property
    def plain(self) -> str:
        """The text without marks."""
        return "".join(text for text, _ in self.pieces)

    def marked(self, before: str, after: str, escape: dict[str, str] | None = None) -> str:
        """The text with marks around its bold pieces."""
        table = str.maketrans(escape or {})
        return "".join(
            f"{before}{t.translate(table)}{after}" if bold else t.translate(table) for t, bold in self.pieces
        )


@dataclass(frozen=True)
class Table:
    """name is that of its files; missing says in words which runs its empty cells wait for."""

    name: str
    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    missing: list[str] = field(default_factory=list)

    def plain_rows(self) -> list[list[str]]:
        """The rows as text."""
        return [[cell.plain for cell in row] for row in self.rows]

    def as_json(self) -> dict[str, Any]:
        """The table as one object."""
        return {"caption": self.caption, "rows": self.frame().to_dict("records"), "missing": self.missing}

    def frame(self) -> pd.DataFrame:
        """The table as text in a frame."""
        return pd.DataFrame(self.plain_rows(), columns=self.columns)

    def markdown(self) -> str:
        """GitHub's pipes."""
        rows = [[cell.marked("**", "**", {"|": r"\|"}) for cell in row] for row in self.rows]
        return "\n".join([_pipes(self.columns), _pipes(["---"] * len(self.columns)), *map(_pipes, rows)]) + "\n"

    def latex(self) -> str:
        """A tabular of booktabs."""
        rows = [[cell.marked(r"\textbf{", "}", LATEX) for cell in row] for row in self.rows]
        head = [Cell.of(column).marked("", "", LATEX) for column in self.columns]
        body = [" & ".join(row) + r" \\" for row in rows]
        layout = "l" + "r" * (len(self.columns) - 1)
        return "\n".join(
            [f"\\begin{{tabular}}{{{layout}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *body]
            + [r"\bottomrule", r"\end{tabular}", ""]
        )

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.csv, NAME.md and NAME.tex; returns their paths."""
        paths = [folder / f"{self.name}.{ending}" for ending in ("csv", "md", "tex")]
        write_csv(paths[0], self.frame())
        write_text(paths[1], self.markdown())
        write_text(paths[2], self.latex())
        return paths


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
