"""Entries: finished or planned runs as rows of one frame, in which runs that must not share a cell can be told apart.

A cell of a table is a model, a dataset, a method and a sparsity; seeds are averaged in it. Whatever else differs between
two runs (an option of the model or of the method, the weights, the recipe …) is written into a label, never averaged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

Entry = Mapping[str, Any]  # a record of a run, or the plan of one that has no accuracy yet
RUN_COLUMNS = [  # of results/runs.csv
    *(
        "hash",
        "model",
        "weights",
        "dataset",
        "method",
        "control",
        "removal",
        "sparsity",
        "seed",
        "smoke",
        "prunable",
        "kept",
        "parameters",
    ),
    *("accuracy_last", "accuracy_best", "best_epoch", "best_chosen_on", "validation_last", "validation_best"),
    *("settings", "mask_digest", "scoring_seconds", "finished_at"),
]


UNITS = " units"  # what a number of units is written with


def of_units(entry: Entry) -> bool:
    """Whether units were removed, not single weights."""
    return entry.get("removal", "weights") != "weights"


def runs_table(records: Sequence[Entry]) -> pd.DataFrame:
    """results/runs.csv: a row a finished run. `settings` is what differs from the defaults besides the columns."""
    rows = [
        {
            **record,
            "control": _control(record["identity"]),
            "removal": record.get("removal", "weights"),
            "settings": _words(_flat(_rest(record["identity"]) | {"scorer": _method(record["identity"])})),
            "scoring_seconds": (record.get("scoring") or {}).get("seconds"),
        }
        for record in records
    ]
    return pd.DataFrame(rows).reindex(columns=RUN_COLUMNS)


def frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row an entry: labels of model, dataset, method and settings, sparsity, seed, counts and accuracy (NaN: none)."""
    identities = [entry["identity"] for entry in entries]
    table = pd.DataFrame(
        {
            "hash": [entry["hash"] for entry in entries],
            "model": _labels([_model_title(entry) for entry in entries], [_model(entry) for entry in entries]),
            "dataset": _labels([entry["dataset_title"] for entry in entries], [i["dataset"] for i in identities]),
            "method": [entry["method"] for entry in entries],
            "control": [_control(identity) for identity in identities],
            "title": _labels([entry["method_title"] for entry in entries], [_method(i) for i in identities]),
            "settings": _labels([""] * len(entries), [_rest(i) for i in identities]),
            "sparsity": [float(entry["sparsity"]) for entry in entries],
            "seed": [entry["seed"] for entry in entries],
            "counts": [_counts(entry) for entry in entries],
            "accuracy": [float(entry.get("accuracy_last", "nan")) for entry in entries],
        }
    )
    return table.drop_duplicates("hash").reset_index(drop=True)


def _counts(entry: Entry) -> str:
    return f"{human(entry['prunable'])} → {human(entry['kept'])}{UNITS if of_units(entry) else ''}"


def human(count: int) -> str:
    """A number of parameters as the report writes it: 84.9M, 786k, 15.7k."""
    if count >= 999_500:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.3g}k" if count >= 1_000 else str(count)


def _model(entry: Entry) -> Mapping[str, Any]:
    """The model's options; packaged weights that are the dataset's own differ between datasets and are no difference."""
    own = entry["weights"] == f"packaged:{entry['dataset']}"
    return {key: value for key, value in entry["identity"]["model"].items() if not (own and key == "weights")}


def _model_title(entry: Entry) -> str:
    scratch = " (from scratch)" if entry["weights"] == "random" else ""
    return f"{entry['model_title']}{scratch}{' [smoke]' if entry['smoke'] else ''}"


def _method(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the mask: the scorer without its seed, and the data it saw."""
    scorer = {key: value for key, value in identity.get("scorer", {}).items() if key != "seed"}
    extra = {key: identity[key] for key in ("scoring", "mask") if identity.get(key)}
    return scorer | extra


def _control(identity: Mapping[str, Any]) -> str:
    return identity.get("control", "none")


def _rest(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of an identity beside model, dataset, method, sparsity and seed."""
    sparsity = {key: value for key, value in identity.get("sparsity", {}).items() if key != "percent"}
    rest = {"recipe": identity["recipe"], "compute": identity["compute"], "sparsity": sparsity}
    return rest | ({"removal": identity["removal"]} if "removal" in identity else {})


def _labels(titles: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The titles; entries with the same title but different parts also say in what they differ."""
    flats = [_flat(part) for part in parts]
    peers: dict[str, list[dict[str, Any]]] = {}
    for title, flat in zip(titles, flats, strict=True):
        peers.setdefault(title, []).append(flat)
    differing = {title: _differing(group) for title, group in peers.items()}
    return [_label(title, flat, differing[title]) for title, flat in zip(titles, flats, strict=True)]


def _label(title: str, flat: Mapping[str, Any], differing: Iterable[str]) -> str:
    shown = {key: flat.get(key, "default") for key in differing}
    return " ".join(part for part in (title, f"[{_words(shown)}]" if shown else "") if part)


def _differing(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys under which not all of these have the same value."""
    keys = {key for flat in flats for key in flat}
    return sorted(key for key in keys if len({repr(flat.get(key)) for flat in flats}) > 1)


def _flat(part: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in part.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in options.items())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:8] if len(text) == 64 else text  # a digest


def order_of(values: Iterable[Any]) -> list[Any]:
    """The distinct values in the order in which they first appear."""
    return list(dict.fromkeys(values))
