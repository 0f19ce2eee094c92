"""From the words of the command line to settings and jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError
from prune_cli.config.overrides import TOP, single
from prune_cli.config.schema import Settings
from prune_cli.plugins import catalogue
from prune_cli.runs.paths import Paths

if TYPE_CHECKING:  # at run time it would bring torch in before the request is read
    from prune_cli.pipeline import Job


DENSE = ("model", "dataset", "recipe", "compute", "seed")
MEASURING = (*DENSE, "scorer", "scoring")
USED = {  # what each command looks at, beside `experiment`; those that are not here look at everything
    "build-data": ("dataset",),
    "score": ("model", "dataset", "scorer", "scoring", "removal", "compute", "seed"),
    **dict.fromkeys(("train", "drift"), DENSE),
    **dict.fromkeys(("ablate", "dynamics"), MEASURING),
}


def check_used(words: Iterable[str], command: str) -> None:
    """Raise ConfigError for a word that would change nothing, such as the scorer of a dense training run.

    An experiment may serve several commands and choose more than one of them uses: its choices pass.
    """
    used = USED.get(command, TOP)
    for word in words:
        top = word.partition("=")[0].partition(".")[0]
        if top in TOP and top not in (*used, "experiment"):
            hint = f"leave it out: {command} looks at {', '.join(used)}"
            raise ConfigError(f"{command} has no use for {top}", word, hint)


def settings_of(words: Iterable[str], paths: Paths, command: str) -> Settings:
    """The settings of the one run that was asked for. Raises RequestError, before torch is even imported where it can."""
    words = list(words)
    check_used(words, command)
    words = from_scratch(words) if command == "train" else words
    point = single(words, catalogue(paths), command)
    from prune_cli.pipeline import check_effect, composer

    made = composer(paths)
    if made.grid(point):
        name = f"experiment={point.choices['experiment']}"
        raise ConfigError("this experiment is a grid of runs", name, f"prune-cli sweep {name}")
    settings = made.settings(point)
    check_effect(point.values, [settings])
    return settings


def job_of(words: Iterable[str], paths: Paths, command: str, fetch: bool = True) -> Job:
    """The one run that was asked for, ready to start. Raises RequestError before any work starts."""
    settings = settings_of(words, paths, command)
    from prune_cli.pipeline import JobFactory

    return JobFactory(paths, fetch).job(settings)


def from_scratch(words: list[str]) -> list[str]:
    """The words with what a dense training starts from where they do not say: nothing removed, random weights."""
    typed = any(word.startswith("model.weights=") for word in words)
    return ["sparsity=dense", *([] if typed else ["model.weights=random"]), *words]
