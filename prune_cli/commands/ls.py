"""`prune-cli ls`: the config groups, or the options of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.options import top_level
from prune_cli.config.schema import GROUPS
from prune_cli.runs.paths import Paths

WHAT = {
    "model": "what is pruned, and where its weights come from",
    "dataset": "what it is fine-tuned and tested on",
    "scorer": "how much each weight matters",
    "sparsity": "how much is removed, and over what",
    "removal": "weights or units, and where a removed unit falls silent",
    "control": "what is taken from the method, to see what its result rests on",
    "recipe": "how it is fine-tuned",
    "compute": "device, threads, loader workers, precision",
    "experiment": "settings and a grid under one name",
}


def ls(group: str | None, paths: Paths) -> list[tuple[str, str]]:
    """(name, what it is) of each group, or of each option of `group`. Raises ConfigError for an unknown one."""
    catalogue = Catalogue(paths.configs)
    if group is None:
        return [(name, f"{WHAT[name]}: {', '.join(catalogue.options[name])}") for name in GROUPS]
    if group not in GROUPS:
        raise ConfigError(f"there is no group {group!r}", f"ls {group}", nearest(group, GROUPS, "prune-cli ls "))
    return list(catalogue.options[group].items())


def as_json(group: str | None, paths: Paths) -> dict[str, Any]:
    """The groups with the names of their choices, and the options outside of them; or the choices of `group`, each with
    its options: name, type, default and description. Raises ConfigError for an unknown group."""
    catalogue = Catalogue(paths.configs)
    if group is not None:
        return {"group": group, "default": catalogue.defaults[group], "choices": _choices(group, catalogue, paths)}
    groups = [
        {"name": name, "default": catalogue.defaults[name], "description": WHAT[name], "choices": list(choices)}
        for name, choices in catalogue.options.items()
    ]
    return {"groups": groups, "options": [asdict(option) for option in top_level(catalogue.text("config"))]}


def _choices(group: str, catalogue: Catalogue, paths: Paths) -> list[dict[str, Any]]:
    from prune_cli.pipeline import composer  # brings torch in

    options = composer(paths).options
    return [
        {"name": name, "description": what, "options": [asdict(option) for option in options(group, name)]}
        for name, what in catalogue.options[group].items()
    ]
