"""`prune-cli export RUN`: the model of a run as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, RUNS_READ, checked
from prune_cli.common.path_checks import check_writable_file
from prune_cli.runs.paths import Paths

Run = Annotated[str, typer.Argument(help="A run's folder, or the start of its hash.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="dense|compressed|onnx",
        help="Every weight, for timm; the survivors alone, for prune_cli.load; a graph.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write it there, not in RUN.",
        parser=checked("--out", check_writable_file),
        show_default=False,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", metavar="float32|float16", help="Of compressed values; else as trained.", show_default=False
    ),
]


@command(
    "export",
    "export runs/prune/HASH --format compressed",
    "export HASH --format compressed --dtype float16 --out vit.safetensors",
    "export HASH --format dense --out timm.safetensors",
    "export HASH --format onnx --out vit.onnx",
)
def export(
    run: Run,
    format: Format,
    out: Out = None,
    dtype: Dtype = None,
    *,
    paths: Annotated[Paths, RUNS_READ, DATA, CONFIGS, PLUGINS],
) -> Output:
    """Write a finished run's model for other programs; it is read back and measured on the test set first."""
    from prune_cli.commands.export import export as write
    from prune_cli.commands.export import show_exported

    found = write(run, format, paths, out, dtype)
    return Output(asdict(found), lambda: show_exported(found))
