"""`prune-cli bench RUN`: what pruning is worth on this machine, dense against pruned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_cli.analysis.multiply_adds import COUNTED
from prune_cli.analysis.timing import Measurement
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import pd, torch
from prune_cli.common.plain import JsonObject
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.comparison import counts, difference_of, file_sizes, latency, memory, training_steps
from prune_cli.execution.peers import loaded, peers_named
from prune_cli.execution.pruned_model import DENSE, batch_of, open_pruned, weight_mask
from prune_cli.execution.stored_run import StoredRun
from prune_cli.report.bench_figure import draw_bench
from prune_cli.runs.artefacts import BENCH
from prune_cli.runs.files import write_csv, write_json
from prune_cli.runs.manifest import provenance
from prune_cli.runs.paths import Paths
from prune_cli.runtime import products

MOST = 4096  # images or clips in a batch
COLUMNS = ("Quantity", "Batch", "Side", "Value", "p95", "A second", "Against dense", "n")


@dataclass(frozen=True)
class Bench:
    """What was measured of a run, and how: on `threads` threads of the CPU, in the run's precision (peers in float32).

    pruned_layers: how many tensors were pruned. largest_difference: between the logits of both sides, as a share of the
    largest one. products: how sparse layers compute. counted: what multiply-adds are.
    """

    run: str
    title: str
    removed: str
    precision: str
    threads: int
    products: str
    pruned_layers: int
    largest_difference: float
    counted: str
    versions: Mapping[str, str]
    measurements: tuple[Measurement, ...]

    def to_json(self) -> JsonObject:
        """The fields by name."""
        return vars(self) | {"measurements": [one.row() for one in self.measurements]}


def bench(run: str, against: str, batch: str, paths: Paths) -> Bench:
    """Measure both sides of a finished run; write bench.csv, bench.json and bench.png into the results folder.

    against: peers, batch: sizes of batches, both with commas. Raises RequestError for an unknown run, peer or batch, or
    for a run that left nothing smaller, PruneCliError where the two sides answer otherwise.
    """
    sizes, peers = _sizes(batch), peers_named(against.split(","))
    found = open_pruned(run, paths)
    difference = difference_of(found, max(sizes))
    measurements = file_sizes(found) + counts(found) + memory(found, paths)
    functions = loaded(peers, found, batch_of(found, 2)[0])
    for size in sizes:
        measurements += latency(found, size, functions)
    measurements += training_steps(found)  # last: it changes the weights
    result = _result(found, measurements, difference)
    _write(result, paths)
    return result


def show_bench(found: Bench, paths: Paths) -> None:
    """Print the measurements, what they mean, and where they are."""
    print_table(f"{found.title}: {found.threads} threads", COLUMNS, [_shown(one) for one in found.measurements])
    note(f"multiply-adds: {found.counted}")
    note("against dense: the median of the rounds' ratios (5th to 95th percentile), above 1 where it is better")
    note(f"written: {paths.results / BENCH}.csv, .json, .png")


def _sizes(text: str) -> list[int]:
    """The sizes of batches that were typed, each once. Raises RequestError."""
    found = [int(word) if word.isascii() and word.isdigit() else 0 for word in text.split(",")]
    if not all(0 < size <= MOST for size in found):
        raise RequestError(f"a batch has 1 to {MOST} images or clips", f"--batch {text}", "--batch 1,8")
    return list(dict.fromkeys(found))


def _result(found: StoredRun, measurements: list[Measurement], difference: float) -> Bench:
    now = provenance(torch.device("cpu"), [])
    return Bench(
        run=str(found.folder),
        title=found.record.title,
        removed=found.target.noun,
        precision=found.job.settings.compute.precision,
        threads=now.threads,
        products=products.best().title,
        pruned_layers=len(weight_mask(found)),
        largest_difference=difference,
        counted=COUNTED,
        versions=now.versions,
        measurements=tuple(measurements),
    )


def _write(found: Bench, paths: Paths) -> None:
    table = pd.DataFrame([one.row() for one in found.measurements])
    table = table.astype({"batch": "Int64", "sparse_layers": "Int64"})  # whole numbers beside empty cells
    write_csv(paths.results / f"{BENCH}.csv", table)
    write_json(paths.results / f"{BENCH}.json", found.to_json())
    draw_bench(table, found.title, _caption(found), paths.results / f"{BENCH}.png")


def _caption(found: Bench) -> str:
    return (
        f"One CPU, {found.threads} thread{'s'[: found.threads > 1]}, {found.precision}, torch {found.versions['torch']}. "
        "Times: medians of n rounds in turn in one process, lines up to the 95th percentile; below each bar its value.\n"
        "Memory: peak of a process each, libraries included. File: dense in float32 against the run's own. "
        "Multiply-adds: one forward pass, survivors alone."
    )


def _shown(one: Measurement) -> tuple[str, ...]:
    apart = f"{one.ratio:.2f}×" + ("" if one.n == 1 else f" ({one.ratio_low:.2f} to {one.ratio_high:.2f})")
    value, p95 = _text(one.value, one.unit), "" if one.p95 is None else _text(one.p95, one.unit)
    speed = "" if one.per_second is None else f"{one.per_second:.4g}"
    batch, n = str(one.batch or ""), str(one.n) if one.n > 1 else ""
    return one.quantity, batch, one.side, value, p95, speed, "" if one.side == DENSE else apart, n


def _text(value: float, unit: str) -> str:
    return f"{value:.2f} ms" if unit == "ms" else f"{value:,.0f}" + (" bytes" if unit == "bytes" else "")
