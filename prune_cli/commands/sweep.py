"""`prune-cli sweep`: every point of a grid, each in a process of its own, then the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_cli.commands.table import show_table, table, write_last_sweep
from prune_cli.common.errors import ErrorParts
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.grid import Planned
from prune_cli.execution.processes import SCRATCH, ask
from prune_cli.execution.run_once import show_runs, update_runs_csv
from prune_cli.report.table import Table
from prune_cli.runs.artefacts import REQUEST, STATUS
from prune_cli.runs.files import sweep_temporaries
from prune_cli.runs.paths import Paths
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.runs.status import DONE, FAILED, PENDING, RUNNING, STATES, read_status, state_of
from prune_cli.runs.store import LOGS, RunFolder, finished, read_record
from prune_cli.sweeps.points import estimated_seconds
from prune_cli.sweeps.runner import OnEnd, RunLauncher, clear, run_all

TAIL = 5  # lines of a failed run's log that are shown


@dataclass(frozen=True)
class Failure:
    """A failed run. run: its hash. point: its title. reason: the lines of its error. log: the last lines of its logs."""

    run: str
    point: str
    reason: list[str]
    log: list[str]


@dataclass(frozen=True)
class Preview:
    """A point that may be run: its hash (None: known once the weights have been fetched), what it is in a few words, how far
    it has come (one of STATES), and the seconds that it takes if runs like it have been finished."""

    run: str | None
    point: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep: records of the finished runs, the failures, and whether the sweep was stopped."""

    records: list[RunRecord]
    failed: list[Failure]
    stopped: bool


def sweep(planned: Planned, paths: Paths, launcher: RunLauncher, fail_fast: bool = False) -> Outcome:
    """Run all points that are not finished, and update runs.csv. Raises PruneCliError where no run can be started."""
    _prepare_folders(planned, paths)
    folders = {name: paths.runs / "prune" / name for name in planned}
    waiting = [name for name, folder in folders.items() if state_of(folder) != DONE]
    note(f"{len(planned)} runs, {len(planned) - len(waiting)} of them finished")
    for name in planned.keys() - set(waiting):
        _tidy(folders[name], planned[name][1])
    for name in waiting:
        if state_of(folders[name]) == RUNNING and (folders[name] / REQUEST).exists():
            continue  # another process works in there
        ask(planned[name][0], folders[name], paths)
    on_end = _end_reporter(planned, len(planned) - len(waiting))
    stopped = bool(waiting) and run_all(
        [folders[name] for name in waiting], launcher, paths.runs / SCRATCH, fail_fast, on_end
    )
    update_runs_csv(paths)
    records = [record for folder in folders.values() if (record := read_record(folder, RunRecord)) is not None]
    states = {name: state_of(folders[name]) for name in waiting}
    failed = [_failure(planned[name][1], folders[name]) for name, state in states.items() if state == FAILED]
    return Outcome(records, failed, stopped)


def _prepare_folders(planned: Planned, paths: Paths) -> None:
    """Write sweep.json for later tables, and remove the temporary files of killed sweeps."""
    sweep_temporaries(paths.results)
    clear(paths.runs / SCRATCH)
    write_last_sweep([plan for _, plan in planned.values()], paths)


def _tidy(folder: Path, plan: RunPlan) -> None:
    """Remove the temporary files of a finished run that died just after it wrote its manifest."""
    if (folder / STATUS).exists():
        with RunFolder(folder, plan.identity).claimed(wait=True, resumable=True):
            pass


def _end_reporter(planned: Planned, done: int) -> OnEnd:
    """A callback that counts the runs that have ended and prints the result of each. done: runs finished before."""
    ended = done

    def on_end(folder: Path, state: str) -> None:
        """Print the result of a run that has ended."""
        nonlocal ended
        ended += 1
        title = planned[folder.name][1].title
        record = read_record(folder, RunRecord) if state == DONE else None
        came = f"test {record.accuracy_last:.2f} %" if record else f"failed: {'; '.join(_reason(folder))}"
        note(f"[{ended}/{len(planned)}] {title}: {came}")

    return on_end


def _reason(folder: Path) -> list[str]:
    """The lines of text that say why a run failed."""
    status = read_status(folder)
    return (status.failure if status else ErrorParts("it left no word")).lines(first="")


def _failure(plan: RunPlan, folder: Path) -> Failure:
    logs = [line for log in LOGS if (folder / log).exists() for line in _lines(folder / log)[-TAIL:]]
    return Failure(folder.name, plan.title, _reason(folder), logs)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def tables(paths: Paths) -> list[Table]:
    """Write Tables 1 and 2 of the sweep and return them."""
    return [table(number, paths) for number in (1, 2)]


def show_sweep(outcome: Outcome, made: Iterable[Table], paths: Paths) -> None:
    """Print the runs and the tables of a sweep, and what failed."""
    if outcome.records:
        show_runs(outcome.records, paths.runs)
    for one in () if outcome.stopped else made:
        show_table(one, paths)
    for failure in outcome.failed:
        note(f"\nfailed: {failure.point} ({paths.runs / 'prune' / failure.run})")
        for line in (*failure.reason, *failure.log):
            note(f"  {line}")


def preview(planned: Planned, paths: Paths) -> list[Preview]:
    """The preview of each point: its run, title, state and expected seconds."""
    done = finished(paths.runs, "prune")
    return [
        Preview(
            run=plan.hash if job.weights.sha256 else None,
            point=plan.title,
            state=state_of(paths.runs / "prune" / plan.hash) if job.weights.sha256 else PENDING,
            seconds=estimated_seconds(plan, done.values()),
        )
        for job, plan in planned.values()
    ]


def show_preview(points: Sequence[Preview]) -> None:
    """Print the points of a sweep, the number in each state, and the expected time of the rest."""
    rows = [(point.run, point.point, point.state, _duration(point.seconds)) for point in points]
    print_table("", ("run", "point", "state", "estimate"), rows)
    print(", ".join(f"{sum(point.state == state for point in points)} {state}" for state in STATES))
    left = [point.seconds for point in points if point.state in (PENDING, RUNNING)]
    if left:
        known = [seconds for seconds in left if seconds is not None]
        took = f"about {_duration(sum(known))} one after another" if known else "no run like them is finished"
        rest = (
            f"; {len(left) - len(known)} of them are like none that is finished" if 0 < len(known) < len(left) else ""
        )
        print(f"left: {len(left)} runs, {took}{rest}")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
