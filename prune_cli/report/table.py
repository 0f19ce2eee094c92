"""A table of cells, each a few pieces of text of which the best is bold: as CSV, Markdown and LaTeX, the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prune_cli.common.lazy import pd
from prune_cli.common.plain import JsonObject
from prune_cli.runs.files import write_csv, write_text

MARKDOWN = {"|": r"\|"}
LATEX = {
    **{special: f"\\{special}" for special in "%#&_${}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "→": r"$\to$", "±": r"$\pm$", "—": "---"},
}


@dataclass(frozen=True)
class Cell:
    """Pieces of text, (text, bold), and the value that they write, for JSON."""

    pieces: tuple[tuple[str, bool], ...]
    value: Any

    @classmethod
    def of(cls, text: str, bold: bool = False, value: Any = None) -> Cell:
        """A cell of one piece; its value is the text unless another is given."""
        return cls(((text, bold),), text if value is None else value)

    @property
    def plain(self) -> str:
        """The text of the cell without bold marks."""
        return "".join(text for text, _ in self.pieces)

    def marked(self, before: str, after: str, escape: dict[str, str] | None = None) -> str:
        """The text with marks around its bold pieces."""
        table = str.maketrans(escape or {})
        return "".join(
            f"{before}{t.translate(table)}{after}" if bold else t.translate(table) for t, bold in self.pieces
        )


@dataclass(frozen=True)
class Row:
    """twin: what the report calls the row that shows the same of the same model; None where it has none."""

    cells: list[Cell]
    twin: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Missing:
    """A run that a cell waits for. sparsity in percent."""

    model: str
    dataset: str
    method: str
    sparsity: float
    seed: int

    @property
    def text(self) -> str:
        """The run in a few words, for the list of missing runs."""
        return f"{self.model}, {self.dataset}, {self.method}, {self.sparsity:g} %, seed {self.seed}"


@dataclass(frozen=True)
class Table:
    """name is that of its files; missing: the runs that its empty cells wait for."""

    name: str
    caption: str
    columns: list[str]
    rows: list[Row]
    missing: list[Missing] = field(default_factory=list)

    def plain_rows(self) -> list[list[str]]:
        """The rows as text."""
        return [[cell.plain for cell in row.cells] for row in self.rows]

    def as_json(self) -> JsonObject:
        """The table as one object: a row is an object with a value for each column, accuracies are numbers."""
        rows = [dict(zip(self.columns, (cell.value for cell in row.cells), strict=True)) for row in self.rows]
        missing = [asdict(run) for run in self.missing]
        return {"caption": self.caption, "columns": self.columns, "rows": rows, "missing": missing}

    def frame(self) -> pd.DataFrame:
        """The table as text in a frame."""
        return pd.DataFrame(self.plain_rows(), columns=self.columns)

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        rows = [[cell.marked("**", "**", MARKDOWN) for cell in row.cells] for row in self.rows]
        head = [Cell.of(column).marked("", "", MARKDOWN) for column in self.columns]
        return "\n".join([_pipes(head), _pipes(["---"] * len(self.columns)), *map(_pipes, rows)]) + "\n"

    def latex(self) -> str:
        """The table as a LaTeX tabular with booktabs rules."""
        rows = [[cell.marked(r"\textbf{", "}", LATEX) for cell in row.cells] for row in self.rows]
        head = [Cell.of(column).marked("", "", LATEX) for column in self.columns]
        layout = "l" + "r" * (len(self.columns) - 1)
        return "\n".join(
            [f"\\begin{{tabular}}{{{layout}}}", r"\toprule", _tabular(head), r"\midrule", *map(_tabular, rows)]
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


def _tabular(cells: Sequence[str]) -> str:
    """A row; one that begins with [ or * would be an option of the line before it."""
    row = f"{' & '.join(cells)} \\\\"
    return f"{{}}{row}" if row.startswith(("[", "*")) else row
