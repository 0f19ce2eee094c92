"""The report's Table 1 (a method against random) and Table 2 (method by method), from finished and planned runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from prune_cli.common.errors import RequestError, nearest
from prune_cli.report.entries import UNITS, Entry, frame, order_of
from prune_cli.report.table import Cell, Table

REPORT_METHODS = ("Ours", "Magnitude", "SNIP", "GraSP")  # the columns of the report's Table 2
REPORT_PERCENT = 98.0  # the sparsity of the report's Table 2
REFERENCES = ("random", "dense")  # methods that are no contender
NOTHING = "—"


def table1(entries: Sequence[Entry], method: str | None = None) -> Table:
    """Accuracy [%] of the last epoch on the test set: `method (random)` for each model, sparsity and dataset.

    method: the scorer to show; by default snip_magnitude, else the first that is no reference. Raises RequestError if
    there is no such run.
    """
    runs = frame(entries)
    shown = _shown_method(runs, method)
    own = runs[runs.method.isin([shown, "dense"])]
    keys = order_of(own[["model", "sparsity", "settings", "title", "method"]].itertuples(index=False, name=None))
    titles = order_of(own.title[own.method == shown])
    extra = {"Settings": runs.settings.nunique() > 1, "Method": titles != ["Ours"]}
    datasets = order_of(runs.dataset)
    rows = []
    for model, sparsity, settings, title, kind in keys:
        row = runs[(runs.model == model) & (runs.sparsity == sparsity) & (runs.settings == settings)]
        named = {"Settings": settings or "default", "Method": title}
        params = row[row.title == title].iloc[0]
        rows.append(
            [Cell.of(named[column]) for column, wanted in extra.items() if wanted]
            + [Cell.of(model), Cell.of(f"{sparsity:.1f}"), Cell.of(params.counts)]
            + [_against_random(row[row.dataset == name], title, kind) for name in datasets]
        )
    columns = [column for column, wanted in extra.items() if wanted] + ["Model", "Sparsity [%]", "# Params."]
    caption = f"Accuracy after pruning with {', '.join(titles)}; in brackets: random pruning"
    wanted = runs[(runs.method == shown) | (runs.method.isin(REFERENCES) & (runs.control == "none"))]
    return Table("table1", caption, columns + [f"{name} Acc. [%]" for name in datasets], rows, _missing(wanted))


def table2(entries: Sequence[Entry], percent: float | None = None) -> Table:
    """Accuracy [%] of the last epoch on the test set, a row a model and a column a method, at one sparsity.

    percent: by default 98, or the highest there is. Raises RequestError if there is no such run.
    """
    runs = frame(entries)
    there = sorted(set(runs.sparsity) - {0.0}) or [0.0]
    percent = percent if percent is not None else (REPORT_PERCENT if REPORT_PERCENT in there else there[-1])
    if percent not in there:
        raise RequestError(f"no run has a sparsity of {percent:g} %", "--sparsity", f"there are: {there}")
    runs = runs[(runs.sparsity == percent) | (runs.method == "dense")]
    runs = runs[runs.method != "random"]
    others = [title for title in order_of(runs.title) if title not in REPORT_METHODS]
    of_weights = not runs.counts.str.endswith(UNITS).all()
    methods = [*(REPORT_METHODS if of_weights else ()), *sorted(others, key=lambda title: title == "Dense")]
    extra = {"Dataset": runs.dataset.nunique() > 1, "Settings": runs.settings.nunique() > 1}
    rows = []
    for model, dataset, settings in order_of(runs[["model", "dataset", "settings"]].itertuples(index=False, name=None)):
        row = runs[(runs.model == model) & (runs.dataset == dataset) & (runs.settings == settings)]
        named = {"Dataset": dataset, "Settings": settings or "default"}
        rows.append(
            [Cell.of(model), *(Cell.of(named[column]) for column, wanted in extra.items() if wanted)]
            + _best_bold([accuracy(row.accuracy[row.title == method]) for method in methods], methods)
        )
    columns = ["Method", *(column for column, wanted in extra.items() if wanted), *methods]
    return Table("table2", f"Accuracy at {percent:g} % sparsity, method by method", columns, rows, _missing(runs))


def accuracy(values: pd.Series) -> str:
    """One accuracy; of several seeds the mean ± the standard deviation (n - 1) and n, the number that is there."""
    found = values.dropna()
    if found.empty:
        return NOTHING
    if len(values) == 1:
        return f"{found.iloc[0]:.2f}"
    spread = f" ± {found.std():.2f}" if len(found) > 1 else ""
    return f"{found.mean():.2f}{spread}, n={len(found)}"


def _shown_method(runs: pd.DataFrame, method: str | None) -> str:
    there = order_of(runs.method)
    contenders = [name for name in there if name not in REFERENCES]
    if method is None:
        return "snip_magnitude" if "snip_magnitude" in there else (contenders or there)[0]
    if method not in there:
        raise RequestError(f"no run was pruned with {method!r}", "--method", nearest(method, there))
    return method


def _against_random(row: pd.DataFrame, title: str, kind: str) -> Cell:
    own = accuracy(row.accuracy[row.title == title])
    if kind in REFERENCES:
        return Cell.of(own)
    random = accuracy(row.accuracy[(row.method == "random") & (row.control == "none")])
    best = _best([own, random])
    return Cell(((own, own in best), (" (", False), (random, random in best), (")", False)))


def _best_bold(texts: list[str], methods: list[str]) -> list[Cell]:
    contenders = [text for text, method in zip(texts, methods, strict=True) if method != "Dense"]
    best = _best(contenders)
    return [Cell.of(text, method != "Dense" and text in best) for text, method in zip(texts, methods, strict=True)]


def _best(texts: Iterable[str]) -> set[str]:
    """The texts whose accuracy, as it is written, is the highest."""
    values = {text: float(text.split()[0].rstrip(",")) for text in texts if text != NOTHING}
    return {text for text, value in values.items() if value == max(values.values())}


def _missing(runs: pd.DataFrame) -> list[str]:
    waiting = runs[runs.accuracy.isna()]
    return [f"{r.model}, {r.dataset}, {r.title}, {r.sparsity:g} %, seed {r.seed}" for r in waiting.itertuples()]
