"""The command line: one short function a subcommand.

Heavy imports stay inside, so that --help answers at once, and after the request has been read, so that a typo does too.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from prune_cli.common.errors import PruneCliError, format_error, nearest
from prune_cli.common.interrupts import guarded
from prune_cli.common.path_checks import (
    Check,
    check_data_folder,
    check_export,
    check_readable_folder,
    check_writable_folder,
    typed_path,
)
from prune_cli.common.streams import outlived_streams
from prune_cli.common.terminal import note, print_json, print_table, start_notes
from prune_cli.runs.paths import Paths

DEBUG = "PRUNE_CLI_DEBUG"  # set it to see the traceback of a failure
INTERRUPTED = 130  # the exit code of a command that Ctrl-C stopped
MULTIRUN = ("-m", "--multirun")  # what Hydra's own programs call a sweep
STOPPED = "stopped: the same command goes on from here"

app = typer.Typer(
    name="prune-cli",
    help="Prune pre-trained image models once, before fine-tuning, and LSTMs unit by unit; compare the methods in tables.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _checked(option: str, check: Check) -> Callable[[str | Path], Path]:
    """What reads the path that was typed for an option, and refuses one that the command could not use."""

    def read(text: str | Path) -> Path:
        return typed_path(text, option, check)

    return read


def _folder(option: str, check: Check, what: str, **more: Any) -> Any:
    return typer.Option(option, metavar="DIR", help=what, parser=_checked(option, check), **more)


def _export(what: str) -> Any:
    return typer.Option("--export", metavar="FILE", help=what, parser=_checked("--export", check_export))


RunsDir = Annotated[Path, _folder("--runs-dir", check_writable_folder, "Where run folders are.")]
RunsRead = Annotated[Path, _folder("--runs-dir", check_readable_folder, "Where run folders are.")]
ResultsDir = Annotated[Path, _folder("--results-dir", check_writable_folder, "Where tables are written.")]
DataDir = Annotated[Path, _folder("--data-dir", check_data_folder, "Where datasets are.", envvar="PRUNE_CLI_DATA")]
ConfigDir = Annotated[Path | None, _folder("--config-dir", check_readable_folder, "Config groups of your own.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, not a table.")]
Verify = Annotated[bool, typer.Option("--verify", help="Build nothing; check every byte of what is built.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; compute and write nothing.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Hydra overrides; `prune-cli ls` shows the groups.", show_default=False),
]

RUNS, RESULTS, DATA = Path("runs"), Path("results"), Path("datasets")


def command(name: str, *lines: str) -> Callable[[Callable], Callable]:
    """Register a subcommand whose help ends in examples that can be pasted."""
    text = "\b\nExamples:\n" + "\n".join(f"  prune-cli {line}" for line in lines)
    return app.command(name, epilog=text)


def show(value: Any, as_json: bool, otherwise: Callable[[], None]) -> None:
    """The result on stdout: one JSON object, or what a person reads."""
    if as_json:
        print_json(value)
    else:
        otherwise()


@app.callback(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  prune-cli ls\n  prune-cli prune model=vit_micro dataset=mnist5k scorer=snip sparsity=95\n"
    "  prune-cli sweep experiment=demo",
)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Prune pre-trained image models once, before fine-tuning, and LSTMs unit by unit; compare the methods in tables."""
    if version:
        from importlib.metadata import version as version_of

        print(f"prune-cli {version_of('prune-cli')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@command("ls", "ls", "ls scorer", "ls model --json")
def ls(
    group: Annotated[str | None, typer.Argument(help="A config group.", show_default=False)] = None,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """List the config groups, or the options of one."""
    from prune_cli.commands.ls import ls as run

    paths = Paths(configs=config_dir)
    rows = run(group, paths)
    if json:
        from prune_cli.commands.ls import as_json

        print_json(as_json(group, paths))
    else:
        print_table("", (group or "group", "what it is"), rows)


@command(
    "build-data",
    "build-data dataset=mnist5k",
    "build-data dataset=fashion_mnist dataset.root=FOLDER",
    "build-data dataset=action_mnist dataset.actions_per_clip=2 dataset.frames=100",
    "build-data dataset=uiuc_video --verify",
)
def build_data(
    words: Words = None,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    verify: Verify = False,
    json: Json = False,
) -> None:
    """Make a dataset that needs no download, or check one that is there."""
    from prune_cli.execution.request import settings_of

    paths = Paths(data=data_dir, configs=config_dir)
    settings = settings_of(words or [], paths, "build-data")
    from prune_cli.commands.build_data import build_data as run

    made = run(settings, paths, verify)
    rows = [(split, f"{images:,}") for split, images in made["images"].items()]
    title = f"{made['dataset']}, digest {made['digest'][:12]}" + (f", in {made['folder']}" if made["folder"] else "")
    show(made, json, lambda: print_table(title, ("split", "clips" if made["folder"] else "images"), rows))


@command(
    "score",
    "score model=vit_micro dataset=mnist5k scorer=grasp",
    "score scorer=snip_magnitude scorer.alpha=0.1 scoring.batches=4",
    "score model=lstm128 dataset=action_mnist scorer=transfer_entropy scorer.surrogates=100",
)
def score(
    words: Words = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Score the prunable weights, or the units of an LSTM; `prune` takes the scores from here."""
    from prune_cli.execution.request import job_of

    paths = Paths(runs=runs_dir, data=data_dir, configs=config_dir)
    job = job_of(words or [], paths, "score")
    from prune_cli.commands.score import score as run
    from prune_cli.commands.score import show_layers

    record, folder = run(job, paths)
    show(record, json, lambda: show_layers(record, folder))


@command(
    "prune",
    "prune model=vit_micro dataset=mnist5k scorer=snip_magnitude sparsity=98",
    "prune sparsity=97.3 scorer.alpha=0.1 recipe.epochs=3 seed=7",
    "prune model=timm model.arch=vit_tiny_patch16_224 model.weights=random scorer=magnitude sparsity=90 recipe=smoke",
    "prune scorer=synflow sparsity=98 control=shuffle",
    "prune model=vit_l16 scorer=grasp sparsity=95 --dry-run",
    "prune model=lstm128 dataset=action_mnist scorer=transfer_entropy sparsity=50",
)
def prune(
    words: Words = None,
    dry_run: DryRun = False,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Score, select, mask, fine-tune, evaluate and record one run."""
    from prune_cli.execution.request import job_of

    paths = Paths(runs_dir, results_dir, data_dir, config_dir)
    job = job_of(words or [], paths, "prune", fetch=not dry_run)
    from prune_cli.commands.prune import prune as run
    from prune_cli.execution.dry_run import plan_run, show_plan
    from prune_cli.execution.run_once import show_runs

    if dry_run:
        found = plan_run(job, paths)
        show(found, json, lambda: show_plan(found))
    else:
        record = run(job, paths)
        show(record, json, lambda: show_runs([record], runs_dir))


@command(
    "sweep",
    "sweep experiment=demo",
    "sweep scorer=snip_magnitude,magnitude,snip,grasp,random sparsity=90,95,98 seed=0,1",
    "sweep scorer=snip_magnitude,random 'sparsity=range(90,99)' --references",
    "sweep experiment=table1 dataset.download=true compute.device=cuda compute.precision=bf16",
    "sweep experiment=table1_micro --launcher joblib --launcher-opt n_jobs=4",
    "sweep experiment=table1 --launcher slurm --launcher-opt partition=gpu --launcher-opt gpus_per_node=1",
)
def sweep(
    words: Words = None,
    references: Annotated[bool, typer.Option("--references", help="Also run dense and from scratch.")] = False,
    launcher: Annotated[
        str, typer.Option("--launcher", metavar="NAME", help="basic (one by one), joblib, local, slurm or ray.")
    ] = "basic",
    launcher_opt: Annotated[
        list[str] | None,
        typer.Option(
            "--launcher-opt", metavar="KEY=VALUE", help="An option of that Hydra launcher.", show_default=False
        ),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False,
    dry_run: DryRun = False,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> int:
    """Run every point of a grid that is not finished, each in a process of its own, then write Tables 1 and 2."""
    paths = Paths(runs_dir, results_dir, data_dir, config_dir)
    from prune_cli.sweeps.launch import CLUSTERS, Launcher

    starts = Launcher.of(launcher, launcher_opt or [])
    from prune_cli.commands import sweep as sweeps
    from prune_cli.execution.grid import plan_sweep

    here = not (dry_run or launcher in CLUSTERS)
    planned = plan_sweep(words or [], paths, references, fetch=not dry_run, here=here)
    if dry_run:
        points = sweeps.preview(planned, paths)
        show({"points": points}, json, lambda: sweeps.show_preview(points))
        return 0
    outcome = sweeps.sweep(planned, paths, starts, fail_fast)
    tables = sweeps.tables(paths)
    made = {"runs": outcome.records, "failed": outcome.failed, **{t.name: t.as_json() for t in tables}}
    show(made, json, lambda: sweeps.show_sweep(outcome, tables, paths))
    return INTERRUPTED if outcome.stopped else 1 if outcome.failed else 0


@command("run", "run runs/prune/HASH")
def run_folder(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR",
            help="A run folder with a request.json.",
            parser=_checked("RUN_DIR", check_readable_folder),
        ),
    ],
    json: Json = False,
) -> None:
    """Do one run of a sweep, in a process of its own: what launchers start."""
    from prune_cli.commands.run import run

    record = run(folder)
    show(record, json, lambda: print(f"{record['hash']}  test {record['accuracy_last']:.2f} %"))


@command("verify", "verify", "verify runs/prune/HASH HASH", "verify --json")
def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN…", help="Folders or hashes; none: all there are.")
    ] = None,
    runs_dir: RunsRead = RUNS,
    json: Json = False,
) -> int:
    """Check the sha256 of every file of runs, and of the checkpoints of those that are not finished."""
    from prune_cli.commands.verify import show_verified
    from prune_cli.commands.verify import verify as check

    found = check(runs or [], runs_dir)
    show({"runs": found}, json, lambda: show_verified(found))
    return 1 if any(run["damaged"] for run in found) else 0


@command("pack", "pack HASH --to packed", "pack --to packed")
def pack(
    to: Annotated[Path, _folder("--to", check_writable_folder, "A runs folder for the packed runs.")],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN…", help="Folders or hashes; none: all there are.")
    ] = None,
    runs_dir: RunsRead = RUNS,
    json: Json = False,
) -> int:
    """Copy finished runs without their weights: small enough to be committed, and still finished."""
    from prune_cli.commands.pack import pack as run_pack

    packed = run_pack(runs or [], runs_dir, to)
    rows = [list(row.values()) for row in packed.runs]
    show({"packed": packed.runs, "damaged": packed.damaged}, json, lambda: print_table("", ("run", "bytes"), rows))
    return 1 if packed.damaged else 0


@command("table", "table 1", "table 2 --sparsity 95", "table 2 --against report", "table 1 --all --method magnitude")
def table(
    number: Annotated[int, typer.Argument(help="1: a method against random. 2: method by method.", min=1, max=2)],
    everything: Annotated[bool, typer.Option("--all", help="All finished runs, not just the last sweep.")] = False,
    method: Annotated[str | None, typer.Option("--method", help="Table 1: the scorer to show.")] = None,
    percent: Annotated[float | None, typer.Option("--sparsity", help="The one sparsity [%] to show.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="report", help="Set the report beside it.")
    ] = None,
    runs_dir: RunsRead = RUNS,
    results_dir: ResultsDir = RESULTS,
    json: Json = False,
) -> None:
    """Make Table 1 or 2 again from finished runs: CSV, Markdown and LaTeX."""
    from prune_cli.commands.table import show_table
    from prune_cli.commands.table import table as run

    paths = Paths(runs_dir, results_dir)
    made = run(number, paths, everything, method, percent, against)
    show(made.as_json(), json, lambda: show_table(made, paths))


@command("evaluate", "evaluate runs/prune/HASH", "evaluate HASH --json")
def evaluate(
    run: Annotated[str, typer.Argument(help="A run's folder, or the start of its hash.")],
    runs_dir: RunsRead = RUNS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Load a finished run's model and measure it again."""
    from prune_cli.commands.evaluate import evaluate as measure
    from prune_cli.commands.evaluate import show_evaluation

    found = measure(run, Paths(runs=runs_dir, data=data_dir, configs=config_dir))
    show(found, json, lambda: show_evaluation(found))


@command(
    "train",
    "train model=vit_micro dataset=mnist5k",
    "train model=vit_micro dataset=fashion_mnist recipe=pretrain --export vit_micro.safetensors",
)
def train(
    words: Words = None,
    export: Annotated[Path | None, _export("Write float16 weights too.")] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Train a dense model, from scratch unless model.weights says otherwise."""
    from prune_cli.execution.request import job_of

    paths = Paths(runs=runs_dir, data=data_dir, configs=config_dir)
    job = job_of(words or [], paths, "train")
    from prune_cli.commands.train import train as run
    from prune_cli.execution.run_once import show_runs

    record = run(job, paths, export)
    show(record, json, lambda: show_runs([record], runs_dir))


@command(
    "ablate",
    "ablate model=lstm128 dataset=action_mnist",
    "ablate model=lstm128 dataset=action_mnist,uiuc_video scorer=transfer_entropy,activation_variance",
    "ablate model=lstm128 dataset=action_mnist model.weights=random seed=0,1,2,3,4",
)
def ablate(
    words: Words = None,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Measure and draw accuracy without each unit of an LSTM, and without more and more of them (Figure 4)."""
    from prune_cli.commands import ablate as ablations

    paths = Paths(runs_dir, results_dir, data_dir, config_dir)
    planned = ablations.plan_ablation(words or [], paths)
    tables = ablations.ablate(planned, paths)
    as_json = {name: table.to_dict("records") for name, table in tables.items()}
    show(as_json, json, lambda: ablations.show_ablation(tables, paths))


@command(
    "dynamics",
    "dynamics model=lstm128 dataset=action_mnist",
    "dynamics model=lstm128 dataset=action_mnist,uiuc_video scorer=transfer_entropy",
)
def dynamics(
    words: Words = None,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Measure the LSTM's Lyapunov exponents, finite-time and long-run, as units are removed, and draw them beside accuracy."""
    from prune_cli.execution.request import check_used

    paths = Paths(runs_dir, results_dir, data_dir, config_dir)
    check_used(words or [], "dynamics")
    from prune_cli.execution.trained_models import trained_models

    planned = trained_models(words or [], paths)
    from prune_cli.commands import dynamics as measured

    table = measured.dynamics(planned, paths)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")  # JSON has no NaN
    show({"rows": rows}, json, lambda: measured.show_dynamics(table, paths))


@command("shrink", "shrink runs/prune/HASH", "shrink HASH --export small.safetensors")
def shrink(
    run: Annotated[str, typer.Argument(help="The folder of a run whose units were removed, or the start of its hash.")],
    export: Annotated[Path | None, _export("Write it there, not in RUN.")] = None,
    runs_dir: RunsRead = RUNS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Make the smaller LSTM that removed units leave, and hold it against the masked one."""
    from prune_cli.commands.shrink import show_shrunk
    from prune_cli.commands.shrink import shrink as run_shrink

    found = run_shrink(run, Paths(runs=runs_dir, data=data_dir, configs=config_dir), export)
    show(found, json, lambda: show_shrunk(found))


@command(
    "drift",
    "drift model=vit_micro dataset=mnist5k",
    "drift model=vit_micro model.weights=packaged,random recipe.epochs=3",
    "drift experiment=figure5 dataset.root=FOLDER",
)
def drift(
    words: Words = None,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Measure and draw how far dense fine-tuning moves the weights, by scale of pre-training."""
    from prune_cli.commands import drift as drifts

    paths = Paths(runs_dir, results_dir, data_dir, config_dir)
    planned = drifts.plan_drift(words or [], paths)
    table = drifts.drift(planned, paths)
    show({"rows": drifts.as_json(table)}, json, lambda: drifts.show_drift(table, paths))


def main() -> None:
    """Run the command line. Errors take three lines or fewer: exit code 2 for a wrong request, 1 for a failure."""
    start_notes()
    with outlived_streams() as stdout:
        code = _answer()
        stdout.flush()
        if stdout.error is not None:
            lost = PruneCliError(f"the result is lost: {stdout.error.strerror}", "stdout", "the same command elsewhere")
            code = _fail(lost.lines(), code or lost.exit_code)
    sys.exit(code)


def _answer() -> int:
    """Do what was typed. Returns the exit code."""
    of_a_sweep = sys.argv[1:2] == ["run"]  # a run takes the argv of its sweep
    try:
        with guarded():
            code = app(standalone_mode=False)
        if code == INTERRUPTED:  # Typer makes this of Ctrl-C
            _say_stopped(of_a_sweep)
    except PruneCliError as error:
        code = _fail(error.lines(), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
        _say_stopped(of_a_sweep)
    except Exception as error:
        code = _unexpected(error)
    return code or 0


def _say_stopped(of_a_sweep: bool) -> None:
    """Said once: of the runs of a sweep by the sweep, not by each of its processes."""
    if not of_a_sweep:
        note(STOPPED)


def _unexpected(error: Exception) -> int:
    if hasattr(error, "format_message"):  # a wrong option or argument, found by Typer
        return _fail([f"error: {error.format_message()}", f"try: {_instead(error)}"], 2)
    if os.environ.get(DEBUG):
        raise error
    report = "" if isinstance(error, OSError) else "; please report it"  # the system's word, not a fault of ours
    return _fail([*format_error(error), f"try: {DEBUG}=1 and the same command show where{report}"], 1)


def _instead(error: Exception) -> str:
    """A hint after an option, an argument or a command that does not exist: what can be typed for it."""
    typed, known = sys.argv[1:], [str(command.name) for command in app.registered_commands]
    if getattr(error, "option_name", None) in MULTIRUN:
        return shlex.join(["prune-cli", "sweep", *(word for word in typed[1:] if word not in MULTIRUN)])
    if not typed or typed[0].startswith("-"):
        return "prune-cli --help"
    if typed[0] in known:
        return f"prune-cli {typed[0]} --help"
    hint = nearest(typed[0], known, "prune-cli ", " --help")
    return hint if "prune-cli" in hint else "prune-cli --help"


def _fail(lines: list[str], code: int) -> int:
    for line in lines:
        note(line)
    return code
