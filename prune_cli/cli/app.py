"""The Typer app, and what makes a function a subcommand of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from prune_cli.cli.options import Json, collect_paths, expand_paths
from prune_cli.common.terminal import print_json

INTERRUPTED = 130  # the exit code of a command that Ctrl-C stopped

app = typer.Typer(
    name="prune-cli",
    help="Prune pre-trained image models once, before fine-tuning, and LSTMs unit by unit; compare the methods in tables.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)


@dataclass(frozen=True)
class Output:
    """What a subcommand found.

    data: the object that --json prints, or a function that finds it where that costs more than what is shown.
    show: prints what a person reads, on stdout. code: the exit code.
    """

    data: Any
    show: Callable[[], None]
    code: int = 0

    def print(self, as_json: bool) -> int:
        """Print the result in one of its two forms. Returns the exit code."""
        if as_json:
            print_json(self.data() if callable(self.data) else self.data)
        else:
            self.show()
        return self.code


Work = Callable[..., Output]


def command(name: str, *examples: str) -> Callable[[Work], Work]:
    """Decorator: register a function as the subcommand `name`, whose help ends in examples that can be pasted.

    The function's parameters are the arguments and options, as Typer reads them. A parameter `paths` stands for the path
    options that its annotation lists (options.py); --json is added, and the Output that the function returns is printed.
    """
    epilog = "\b\nExamples:\n" + "\n".join(f"  prune-cli {line}" for line in examples)

    def add(work: Work) -> Work:
        """Register the function and leave it as it is."""
        app.command(name, epilog=epilog)(_as_typer_command(work))
        return work

    return add


def _as_typer_command(work: Work) -> Callable[..., int]:
    """The function as Typer calls it: with every path option and --json in its signature, returning the exit code."""
    signature = inspect.signature(work, eval_str=True)

    @wraps(work)
    def run(json: bool, **given: Any) -> int:
        """Call the function with its paths made of the path options, and print its output."""
        return work(**collect_paths(signature, given)).print(json)

    run.__signature__ = signature.replace(parameters=[*expand_paths(signature), JSON])  # type: ignore[attr-defined]
    return run


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
