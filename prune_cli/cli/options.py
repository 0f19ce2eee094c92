"""The arguments and options that several subcommands share, and how the path options become one Paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from prune_cli.common.path_checks import (
    Check,
    check_data_folder,
    check_export,
    check_plugin,
    check_readable_folder,
    check_writable_folder,
    typed_path,
)
from prune_cli.runs.paths import Paths


def checked(option: str, check: Check) -> Callable[[str | Path], Path]:
    """A parser of the path that is typed for an option. It raises RequestError for one that the command could not use."""

    def read(text: str | Path) -> Path:
        """The path, checked."""
        return typed_path(text, option, check)

    return read


def folder(option: str, check: Check, what: str, **more: Any) -> Any:
    """An option that takes a folder, and refuses one that does not pass the check."""
    return typer.Option(option, metavar="DIR", help=what, parser=checked(option, check), **more)


def export_option(what: str) -> Any:
    """The option --export: a file of weights that can be written."""
    return typer.Option("--export", metavar="FILE", help=what, parser=checked("--export", check_export))


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, not a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; compute and write nothing.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Hydra overrides; `prune-cli ls` shows the groups.", show_default=False),
]
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN…", help="Folders or hashes; none: all there are.")]


@dataclass(frozen=True)
class PathOption:
    """One option of the command line that fills one field of Paths. parameter: its name in a signature."""

    field: str
    parameter: str
    typer: Any

    def as_parameter(self) -> inspect.Parameter:
        """The option as a parameter of a function, with the default that Paths has."""
        kind, default = inspect.Parameter.KEYWORD_ONLY, getattr(Paths, self.field)
        return inspect.Parameter(self.parameter, kind, default=default, annotation=self.typer)


RUNS = PathOption(
    "runs", "runs_dir", Annotated[Path, folder("--runs-dir", check_writable_folder, "Where run folders are.")]
)
RUNS_READ = PathOption(
    "runs", "runs_dir", Annotated[Path, folder("--runs-dir", check_readable_folder, "Where run folders are.")]
)
RESULTS = PathOption(
    "results",
    "results_dir",
    Annotated[Path, folder("--results-dir", check_writable_folder, "Where tables are written.")],
)
DATA = PathOption(
    "data",
    "data_dir",
    Annotated[Path, folder("--data-dir", check_data_folder, "Where datasets are.", envvar="PRUNE_CLI_DATA")],
)
CONFIGS = PathOption(
    "configs",
    "config_dir",
    Annotated[Path | None, folder("--config-dir", check_readable_folder, "Config groups of your own.")],
)
PLUGINS = PathOption(
    "plugins",
    "plugin",
    Annotated[
        list[Path],
        typer.Option(
            "--plugin",
            metavar="FILE.py",
            help="Scorers, models or datasets of your own; may be repeated.",
            parser=checked("--plugin", check_plugin),
            show_default=False,
        ),
    ],
)


def expand_paths(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    """The parameters of a subcommand, all by keyword, with its path options in the place of `paths`."""
    for name, parameter in signature.parameters.items():
        if name == "paths":
            yield from (option.as_parameter() for option in _path_options(signature))
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def collect_paths(signature: inspect.Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a subcommand, with one Paths in the place of its path options."""
    options = _path_options(signature)
    if not options:
        return dict(given)
    others = {name: value for name, value in given.items() if name in signature.parameters}
    values = {option.field: given[option.parameter] for option in options}
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return others | {"paths": Paths(**fields)}


def _path_options(signature: inspect.Signature) -> list[PathOption]:
    """Those that the annotation of `paths` lists: Annotated[Paths, RUNS, …]."""
    paths = signature.parameters.get("paths")
    return [option for option in get_args(paths.annotation) if isinstance(option, PathOption)] if paths else []
