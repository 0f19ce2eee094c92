"""`prune-cli build-data`: a dataset made, or checked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from prune_cli.cli.app import Output, command
from prune_cli.cli.options import CONFIGS, DATA, PLUGINS, Words
from prune_cli.common.terminal import print_table
from prune_cli.runs.paths import Paths

Verify = Annotated[bool, typer.Option("--verify", help="Build nothing; check every byte of what is built.")]


@command(
    "build-data",
    "build-data dataset=mnist5k",
    "build-data dataset=fashion_mnist dataset.root=FOLDER",
    "build-data dataset=action_mnist dataset.actions_per_clip=2 dataset.frames=100",
    "build-data dataset=uiuc_video --verify",
)
def build_data(
    words: Words = None, *, paths: Annotated[Paths, DATA, CONFIGS, PLUGINS], verify: Verify = False
) -> Output:
    """Make a dataset that needs no download, or check one that is there."""
    from prune_cli.execution.request import settings_of

    settings = settings_of(words or [], paths, "build-data")
    from prune_cli.commands.build_data import build_data as build

    made = build(settings, paths, verify)
    rows = [(split, f"{images:,}") for split, images in made.images.items()]
    title = f"{made.dataset}, digest {made.digest[:12]}" + (f", in {made.folder}" if made.folder else "")
    columns = ("split", "clips" if made.folder else "images")
    return Output(asdict(made), lambda: print_table(title, columns, rows))
