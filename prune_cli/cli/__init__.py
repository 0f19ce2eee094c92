"""The command line: one file a subcommand, which reads what was typed, calls commands/ and shows what came of it.

Heavy imports stay inside the functions, so that --help answers at once, and after the request has been read, so that a
typo does too. A new subcommand is a file here and its name in SUBCOMMANDS.
"""

from importlib import import_module

from prune_cli.cli.app import app
from prune_cli.cli.entry import main

__all__ = ["app", "main"]

SUBCOMMANDS = (  # files, in the order of --help
    *("ls", "build_data", "score", "prune", "sweep", "run", "verify", "pack", "table", "evaluate", "train"),
    *("ablate", "dynamics", "shrink", "export", "bench", "drift"),
)
for name in SUBCOMMANDS:
    import_module(f"prune_cli.cli.{name}")
