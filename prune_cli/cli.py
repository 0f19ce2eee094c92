"""The command line: one short function a subcommand. Heavy imports stay inside, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from prune_cli.common.errors import PruneCliError
from prune_cli.common.terminal import STDERR, print_json, start_notes
from prune_cli.runs.places import Places

GROUPS = "Groups: model, dataset, scorer, sparsity, recipe, compute, experiment (prune-cli ls GROUP shows the options)."

app = typer.Typer(
    name="prune-cli",
    help="Prune pre-trained image models once, before fine-tuning, and compare the methods in tables.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Options as KEY=VALUE, in Hydra's grammar.", metavar="[KEY=VALUE]...")
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where run folders are.")]
ResultsDir = Annotated[Path, typer.Option("--results-dir", help="Where tables are written.")]
DataDir = Annotated[Path, typer.Option("--data-dir", envvar="PRUNE_CLI_DATA", help="Where built datasets are.")]
ConfigDir = Annotated[Path | None, typer.Option("--config-dir", help="A folder with groups of your own.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; write nothing.")]

RUNS, RESULTS, DATA = Path("runs"), Path("results"), Path("datasets")


def examples(*lines: str) -> str:
    """The end of a help text: commands that can be pasted."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@app.callback()
def _group() -> None: ...


@app.command(
    epilog=examples(
        "prune-cli train model=vit_micro dataset=mnist5k",
        "prune-cli train model=vit_micro dataset=fashion_mnist recipe=pretrain --export vit_micro.safetensors",
    )
)
def train(
    overrides: Overrides = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Also write the weights as float16 safetensors.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    results_dir: ResultsDir = RESULTS,
    data_dir: DataDir = DATA,
    config_dir: ConfigDir = None,
    json: Json = False,
) -> None:
    """Train a dense model, from scratch unless model.weights says otherwise."""
    from prune_cli.commands.request import job_of
    from prune_cli.commands.train import train as run

    places = Places(runs_dir, results_dir, data_dir, config_dir)
    words = overrides or []
    scratch = [] if any(word.startswith("model.weights=") for word in words) else ["model.weights=random"]
    record = run(job_of(["sparsity=dense", *scratch, *words], places, "train"), places, export, json)
    if json:
        print_json(record)


def main() -> None:
    """Run the command line: our own errors in three lines or fewer, exit code 2 for a wrong request, 1 for a failure."""
    start_notes()
    try:
        code = app(standalone_mode=False) or 0
    except PruneCliError as error:
        code = _fail(error.lines(), error.exit_code)
    except KeyboardInterrupt:
        code = _fail(["stopped; a run that was not finished has left nothing, the same command starts it again"], 130)
    sys.exit(code)


def _fail(lines: list[str], code: int) -> int:
    for line in lines:
        STDERR.print(line, markup=False, soft_wrap=True)
    return code
