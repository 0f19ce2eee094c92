"""Records of runs as tables read them."""

from __future__ import annotations

from typing import Any

from manifests import planned_or_finished

from prune_cli.report.entries import Entry

TITLES = {"snip_magnitude": "Ours", "magnitude": "Magnitude", "snip": "SNIP", "grasp": "GraSP", "random": "Random"}
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist5k": "MNIST-5k", "imagenet1k": "ImageNet-1K"}


def entry(method: str, accuracy: float | None, percent: float = 98.0, seed: int = 0, **changes: Any) -> Entry:
    """A record as a finished run leaves it, or a plan where accuracy is None."""
    scorer = {"name": method} | changes.pop("scorer", {}) | ({"seed": seed} if method == "random" and seed else {})
    identity = {
        "kind": "prune",
        "model": {"name": "vit_b16", "weights": "a" * 64} | changes.pop("model", {}),
        "dataset": {"name": changes.get("dataset", "cifar10"), "digest": "b" * 64},
        "compute": {},
        "seed": seed,
        "recipe": {"epochs": 10} | changes.pop("recipe", {}),
        "sparsity": {"percent": percent},
    }
    if method != "dense":
        identity |= {"scorer": scorer, "scoring": {}}
    found = {
        "hash": f"{abs(hash(str(sorted(map(str, identity.items()))))):x}",
        "identity": identity,
        "smoke": False,
        "model": "vit_b16",
        "model_title": "ViT-B/16",
        "weights": "hub",
        "dataset": "cifar10",
        "dataset_title": DATASETS[changes.get("dataset", "cifar10")],
        "method": method,
        "method_title": TITLES.get(method, "Dense"),
        "sparsity": percent,
        "seed": seed,
        "prunable": 84_934_656,
        "kept": 84_934_656 - round(percent / 100 * 84_934_656),
        "parameters": 86_567_656,
    }
    return planned_or_finished(found | changes, accuracy)


def report_row() -> list[Entry]:
    """The report's own ViT-B/16 row at 98 %."""
    return [
        entry("snip_magnitude", 90.92),
        entry("random", 81.96),
        entry("snip_magnitude", 68.35, dataset="cifar100"),
        entry("random", 55.59, dataset="cifar100"),
    ]


def table2_row(dataset: str, percent: float = 98.0, **changes: Any) -> list[Entry]:
    """The report's own ViT-B/16 row of Table 2, on any dataset and at any sparsity."""
    methods = {"snip_magnitude": 79.07, "magnitude": 78.62, "snip": 79.07, "grasp": 77.23}
    return [entry(method, found, percent, dataset=dataset, **changes) for method, found in methods.items()]
