"""`prune-cli ls`: the config groups, or the options of one."""

from __future__ import annotations

from dataclasses import asdict

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.plain import JsonObject
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.options import top_level
from prune_cli.config.schema import GROUPS
from prune_cli.plugins import catalogue
from prune_cli.runs.paths import Paths

WHAT = {
    "model": "what is pruned, and where its weights come from",
    "dataset": "what it is fine-tuned and tested on",
    "scorer": "how much each weight matters",
    "sparsity": "how much is removed, and over what",
    "removal": "weights, units of an LSTM (and where a removed one falls silent) or heads of a ViT",
    "control": "what is taken from the method, to see what its result rests on",
    "recipe": "how it is fine-tuned",
    "compute": "device, threads, loader workers, precision",
    "experiment": "settings and a grid under one name",
}


def ls(group: str | None, paths: Paths) -> list[tuple[str, ...]]:
    """(name, what it is) of each group, or of each option of `group` with where it is from. Raises ConfigError for an
    unknown group."""
    found = catalogue(paths)
    if group is None:
        return [(name, f"{WHAT[name]}: {', '.join(found.options[name])}") for name in GROUPS]
    if group not in GROUPS:
        raise ConfigError(f"there is no group {group!r}", f"ls {group}", nearest(group, GROUPS, "prune-cli ls "))
    return [(name, what, found.origin(group, name)) for name, what in found.options[group].items()]


def as_json(group: str | None, paths: Paths) -> JsonObject:
    """The groups with the names of their choices, and the options outside of them; or the choices of `group`, each with
    where it is from and its options: name, type, default and description. Raises ConfigError for an unknown group."""
    found = catalogue(paths)
    if group is not None:
        return {"group": group, "default": found.defaults[group], "choices": _choices(group, found, paths)}
    groups = [
        {"name": name, "default": found.defaults[name], "description": WHAT[name], "choices": list(choices)}
        for name, choices in found.options.items()
    ]
    return {"groups": groups, "options": [asdict(option) for option in top_level(found.text("config"))]}


def _choices(group: str, found: Catalogue, paths: Paths) -> list[JsonObject]:
    from prune_cli.pipeline import composer  # brings torch in

    options = composer(paths).options
    return [
        {
            "name": name,
            "description": what,
            "from": found.origin(group, name),
            "options": [asdict(option) for option in options(group, name)],
        }
        for name, what in found.options[group].items()
    ]
