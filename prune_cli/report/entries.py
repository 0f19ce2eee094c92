"""Entries: finished or planned runs as rows of one frame, in which runs that must not share a cell can be told apart.

A cell of a table is a model, a dataset, a method and a sparsity; seeds are averaged in it. Whatever else differs between
two runs (an option of the model or of the method, the weights, the recipe …) is written into a label, never averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from math import nan
from typing import Any

from prune_cli.common.lazy import pd
from prune_cli.common.plain import Identity, Options
from prune_cli.report.labels import flat, labels, words
from prune_cli.report.recipes import Recipes
from prune_cli.runs.artefacts import MODEL
from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord
from prune_cli.targets import Target, target_named, targets

Entry = RunPlan  # the record of a run, or the plan of one that has no accuracy yet
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


PARTS = {"kind", "model", "dataset", "scorer", "scoring", "mask", "control", "of", "seed"}  # of an identity, told apart
# by a column or a title of its own


@dataclass(frozen=True)
class UnknownTarget:
    """What tables say of a plug-in's target: they load no plug-in, and its runs do not hide all others."""

    name: str
    single_weights = False

    @property
    def suffix(self) -> str:
        """What follows a number of such things: the target's name."""
        return f" {self.name}"


def target_of_entry(entry: Entry) -> Target | UnknownTarget:
    """The target that a finished or planned run removes."""
    return target_named(entry.target) if entry.target in targets.classes else UnknownTarget(entry.target)


def kept_of(entry: Entry, separator: str, kept_first: bool = False) -> str:
    """The numbers of what is prunable and of what is kept, with the noun where it is not weights: 6 → 3 units."""
    counts = [human(entry.prunable), human(entry.kept)]
    return f"{separator.join(reversed(counts) if kept_first else counts)}{target_of_entry(entry).suffix}"


def runs_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """results/runs.csv: a row a finished run. `settings` is what differs from the defaults besides the columns."""
    rows = [
        {
            **record.to_json(),
            "control": _control(record.identity),
            "removal": target_of_entry(record).name,
            "settings": words(flat(_rest(record.identity) | {"scorer": _method(record.identity)})),
            "scoring_seconds": record.scoring.seconds if record.scoring else None,
        }
        for record in records
    ]
    return pd.DataFrame(rows).reindex(columns=RUN_COLUMNS)


def frame(entries: Sequence[Entry], recipes: Recipes | None = None) -> pd.DataFrame:
    """A row an entry: labels of model, dataset, method and settings, sparsity, seed, counts and accuracy (NaN: none).

    outcome: the same for runs that ended in the same weights; None where there is no accuracy. like_report: whether
    the report has numbers of such a run. recipes: what recipes are called in the labels.
    """
    identities = [entry.identity for entry in entries]
    table = pd.DataFrame(
        {
            "hash": [entry.hash for entry in entries],
            "model": labels([_model_title(entry) for entry in entries], _models(entries)),
            "dataset": labels([entry.dataset_title for entry in entries], [i["dataset"] for i in identities]),
            "method": [entry.method for entry in entries],
            "control": [_control(identity) for identity in identities],
            "title": labels([entry.method_title for entry in entries], [_method(i) for i in identities]),
            "settings": labels([""] * len(entries), [_rest(i, recipes) for i in identities]),
            "sparsity": [float(entry.sparsity) for entry in entries],
            "seed": [entry.seed for entry in entries],
            "counts": [kept_of(entry, " → ") for entry in entries],
            "prunable": [entry.prunable for entry in entries],
            "kept": [entry.kept for entry in entries],
            "single_weights": [target_of_entry(entry).single_weights for entry in entries],
            "accuracy": [entry.accuracy_last if isinstance(entry, RunRecord) else nan for entry in entries],
            "outcome": [_outcome(entry) for entry in entries],
            "like_report": [_like_report(entry) for entry in entries],
        }
    )
    return table.drop_duplicates("hash").reset_index(drop=True)


def _outcome(entry: Entry) -> str | None:
    """The sha256 of the weights that a finished run ended with; its hash where the record is older than such digests."""
    return (entry.digest(MODEL) or entry.hash) if isinstance(entry, RunRecord) else None


def _like_report(entry: Entry) -> bool:
    """Whether the run prunes single weights of a pre-trained model by one ranking of all of them, and means something."""
    pretrained = entry.weights == "hub" or entry.weights.partition(":")[0] == "file"  # hub:TAG learnt from other images
    plain = entry.identity.get("sparsity", {}).keys() <= {"percent"} and _control(entry.identity) == "none"
    return pretrained and plain and not entry.smoke and target_of_entry(entry).single_weights


def human(count: int) -> str:
    """A number of parameters as the report writes it: 84.9M, 786k, 15.7k."""
    if count >= 999_500:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.3g}k" if count >= 1_000 else str(count)


def _models(entries: Sequence[Entry]) -> list[Options]:
    """The options of each entry's model. Packaged weights that are a dataset's own differ between datasets, which is no
    difference between models; two versions of one dataset's are."""
    own = [entry.weights == f"packaged:{entry.dataset}" for entry in entries]
    models = [dict(entry.identity["model"]) for entry in entries]
    versions: dict[tuple[str, str], set[Any]] = {}
    names = [(entry.model, entry.dataset) for entry in entries]
    for name, model in compress(zip(names, models, strict=True), own):
        versions.setdefault(name, set()).add(model.get("weights"))
    for name, model in compress(zip(names, models, strict=True), own):
        if len(versions[name]) == 1:
            model["weights"] = "packaged"
    return models


def _model_title(entry: Entry) -> str:
    scratch = " (from scratch)" if entry.weights == "random" else ""
    return f"{entry.model_title}{scratch}{' [smoke]' if entry.smoke else ''}"


def _method(identity: Identity) -> Options:
    """What makes the mask: the scorer without its seed, and the data it saw."""
    scorer = {key: value for key, value in identity.get("scorer", {}).items() if key != "seed"}
    extra = {key: identity[key] for key in ("scoring", "mask") if identity.get(key)}
    return scorer | extra


def _control(identity: Identity) -> str:
    return identity.get("control", "none")


def _rest(identity: Identity, recipes: Recipes | None = None) -> Options:
    """All of an identity but for model, dataset, method, sparsity and seed, the recipe by its name where there are any."""
    sparsity = {key: value for key, value in identity.get("sparsity", {}).items() if key != "percent"}
    recipe = identity["recipe"] if recipes is None else recipes.words(identity["recipe"])
    rest = {"recipe": recipe, "compute": identity["compute"], "sparsity": sparsity}
    return rest | {key: value for key, value in identity.items() if key not in PARTS | rest.keys()}


def order_of(values: Iterable[Any]) -> list[Any]:
    """The distinct values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
