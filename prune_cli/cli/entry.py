"""What the program starts with: one command line, answered with an exit code and, where it fails, three lines or fewer."""

from __future__ import annotations

import os
import shlex
import sys

import typer

from prune_cli.cli.app import INTERRUPTED, app
from prune_cli.common.errors import PruneCliError, format_error, nearest
from prune_cli.common.interrupts import handle_signals
from prune_cli.common.streams import tolerant_streams
from prune_cli.common.terminal import note, start_notes

DEBUG = "PRUNE_CLI_DEBUG"  # set it to see the traceback of a failure
MULTIRUN = ("-m", "--multirun")  # what Hydra's own programs call a sweep
STOPPED = "stopped: the same command goes on from here"


def main() -> None:
    """Run the command line. Errors take three lines or fewer: exit code 2 for a wrong request, 1 for a failure."""
    start_notes()
    with tolerant_streams() as stdout:
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
        with handle_signals():
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
