"""The report's Table 1 (a method against random) and Table 2 (method by method), from finished and planned runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_cli.common.errors import RequestError, nearest
from prune_cli.common.lazy import pd
from prune_cli.report.accuracy import Accuracy
from prune_cli.report.entries import Entry, frame, order_of
from prune_cli.report.recipes import Recipes
from prune_cli.report.reference import METHOD, TABLE1_DATASETS, TABLE2_DATASET, TABLE2_METHODS, TABLE2_PERCENT
from prune_cli.report.table import Cell, Missing, Row, Table

REFERENCES = ("random", "dense")  # methods that are no contender


def table1(
    entries: Sequence[Entry], method: str | None = None, percent: float | None = None, recipes: Recipes | None = None
) -> Table:
    """Accuracy [%] of the last epoch on the test set: `method (random)` for each model, sparsity and dataset.

    method: the scorer to show; by default snip_magnitude, else the first that is no reference. percent: the one
    sparsity to show; by default all of them. recipes: what recipes are called where runs differ in them. Raises
    RequestError if there is no such run.
    """
    runs = frame(entries, recipes)
    shown = _shown_method(runs, method)
    if percent is not None:
        _check_percent(runs[runs.method == shown], percent)
        runs = runs[runs.sparsity == percent]
    own = runs[runs.method.isin([shown, "dense"])]
    titles, datasets = order_of(own.title[own.method == shown]), order_of(runs.dataset)
    extra = [
        name for name, wanted in (("Settings", runs.settings.nunique() > 1), ("Method", titles != ["Ours"])) if wanted
    ]
    keys = order_of(own[["model", "sparsity", "settings", "title", "method"]].itertuples(index=False))
    wanted = runs[(runs.method == shown) | (runs.method.isin(REFERENCES) & (runs.control == "none"))]
    return Table(
        "table1",
        f"Accuracy after pruning with {', '.join(titles)}; in brackets: random pruning",
        [*extra, "Model", "Sparsity [%]", "# Params.", *(f"{dataset} Acc. [%]" for dataset in datasets)],
        [_row1(runs, key, extra, datasets) for key in keys],
        _missing(wanted),
    )


def _row1(runs: pd.DataFrame, key: Any, extra: Sequence[str], datasets: Sequence[str]) -> Row:
    """A method of a model at a sparsity: a cell a dataset, each beside the random runs with the same settings."""
    row = runs[(runs.model == key.model) & (runs.sparsity == key.sparsity) & (runs.settings == key.settings)]
    own = row[row.title == key.title]
    counts = Cell.of(own.counts.iloc[0], value={name: int(own[name].iloc[0]) for name in ("prunable", "kept")})
    named = {"Settings": key.settings or "default", "Method": key.title}
    cells = [Cell.of(named[name]) for name in extra]
    cells += [Cell.of(key.model), Cell.of(f"{key.sparsity:.1f}", value=float(key.sparsity)), counts]
    for dataset in datasets:
        there = row[row.dataset == dataset]
        accuracy = Accuracy.of(there[there.title == key.title])
        random = Accuracy.of(there[(there.method == "random") & (there.control == "none")])
        cells.append(_alone(accuracy) if key.method in REFERENCES else _against_random(accuracy, random))
    twin = key.method == METHOD and own.like_report.all() and own.dataset.isin(TABLE1_DATASETS).any()
    return Row(cells, (key.model, f"{key.sparsity:.1f}") if twin else None)


def table2(entries: Sequence[Entry], percent: float | None = None, recipes: Recipes | None = None) -> Table:
    """Accuracy [%] of the last epoch on the test set, a row a model and dataset, a column a method, at one sparsity.

    percent: by default 98, or the highest there is. recipes: what recipes are called where runs differ in them. Raises
    RequestError if there is no such run.
    """
    runs = frame(entries, recipes)
    runs = runs[runs.method != "random"]
    if percent is not None:
        _check_percent(runs, percent)
    percent = _highest(runs) if percent is None else percent
    runs = runs[(runs.sparsity == percent) | (runs.method == "dense")]
    others = [title for title in order_of(runs.title) if title not in TABLE2_METHODS]
    of_weights = runs.single_weights[runs.method != "dense"].any()
    reported = [title for title in TABLE2_METHODS if of_weights or title in set(runs.title)]
    methods = [*reported, *sorted(others, key=lambda title: title == "Dense")]
    extra = ["Settings"] if runs.settings.nunique() > 1 else []
    rows = []
    for key in order_of(runs[["model", "dataset", "settings"]].itertuples(index=False)):
        row = runs[(runs.model == key.model) & (runs.dataset == key.dataset) & (runs.settings == key.settings)]
        named = [key.model, key.dataset, *(key.settings or "default" for _ in extra)]
        found = {method: Accuracy.of(row[row.title == method]) for method in methods}
        twin = percent == TABLE2_PERCENT and key.dataset == TABLE2_DATASET and row.like_report.all()
        rows.append(Row([*map(Cell.of, named), *_best_bold(found)], (key.model,) if twin else None))
    caption = f"Accuracy at {percent:g} % sparsity, method by method"
    return Table("table2", caption, ["Method", "Dataset", *extra, *methods], rows, _missing(runs))


def _shown_method(runs: pd.DataFrame, method: str | None) -> str:
    there = order_of(runs.method)
    contenders = [name for name in there if name not in REFERENCES]
    if method is None:
        return METHOD if METHOD in there else (contenders or there)[0]
    if method not in there:
        raise RequestError(f"no run was pruned with {method!r}", "--method", nearest(method, there))
    return method


def _check_percent(runs: pd.DataFrame, percent: float) -> None:
    there = sorted(set(runs.sparsity) - {0.0}) or [0.0]
    if percent not in there:
        hint = f"there are: {', '.join(f'{one:g}' for one in there)}"
        raise RequestError(f"no run that the table shows has a sparsity of {percent:g} %", "--sparsity", hint)


def _highest(runs: pd.DataFrame) -> float:
    """The report's sparsity if there are such runs, else the highest; 0 where all are dense."""
    return TABLE2_PERCENT if TABLE2_PERCENT in set(runs.sparsity) else max(runs.sparsity, default=0.0)


def _alone(accuracy: Accuracy) -> Cell:
    return Cell.of(accuracy.text, value=accuracy.as_json())


def _against_random(own: Accuracy, random: Accuracy) -> Cell:
    best = _best([own, random])
    pieces = (own.text, own in best), (" (", False), (random.text, random in best), (")", False)
    return Cell(pieces, own.as_json() | {"random": random.as_json()})


def _best_bold(found: Mapping[str, Accuracy]) -> list[Cell]:
    best = _best([accuracy for method, accuracy in found.items() if method != "Dense"])
    return [
        Cell.of(accuracy.text, method != "Dense" and accuracy in best, accuracy.as_json())
        for method, accuracy in found.items()
    ]


def _best(accuracies: Iterable[Accuracy]) -> list[Accuracy]:
    """The accuracies whose rounded mean is the highest."""
    there = [accuracy for accuracy in accuracies if accuracy.mean is not None]
    highest = max((accuracy.written for accuracy in there), default=0.0)
    return [accuracy for accuracy in there if accuracy.written == highest]


def _missing(runs: pd.DataFrame) -> list[Missing]:
    """The planned runs without an accuracy, each once."""
    waiting = runs.loc[runs.accuracy.isna(), ["model", "dataset", "title", "sparsity", "seed"]]
    return [Missing(*run) for run in order_of(waiting.itertuples(index=False))]
