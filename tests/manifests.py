"""What manifests of finished runs hold, key by key in the order in which they are written."""

from __future__ import annotations

from typing import Any

from prune_cli.runs.plan import RunPlan
from prune_cli.runs.record import RunRecord

PLAN: dict[str, Any] = {
    "hash": "0123456789ab",
    "identity": {"kind": "prune", "model": {"name": "vit_micro"}, "seed": 1},
    "smoke": False,
    "model": "vit_micro",
    "model_title": "ViT-micro",
    "weights": "packaged:mnist5k",
    "dataset": "mnist5k",
    "dataset_title": "MNIST-5k",
    "method": "snip",
    "method_title": "SNIP",
    "removal": "heads",
    "sparsity": 97.5,
    "seed": 1,
    "prunable": 1000,
    "kept": 25,
    "parameters": 1100,
}
RESULT = {"accuracy_last": 90.5, "accuracy_best": 91.25}
PROVENANCE: dict[str, Any] = {
    "finished_at": "2026-11-24T10:24:35+00:00",
    "argv": ["prune-cli", "prune", "scorer=snip"],
    "versions": {"python": "3.11.7", "torch": "2.9.1"},
    "device": "cpu",
    "threads": 1,
    "git": None,
}
FIRST: dict[str, Any] = {  # what the first version wrote behind the accuracies
    "best_epoch": 1,
    "best_chosen_on": "test",
    "config": {"seed": 0},
    "mask_digest": "0" * 64,
    "images": {"train": 4000, "test": 500},
    "data_digest": "b" * 64,
    "weights_sha256": "a" * 64,
    **PROVENANCE,
}


def planned_or_finished(plan: dict[str, Any], accuracy: float | None) -> RunPlan:
    """The record of a run of this plan that ended with this accuracy [%], or the plan itself where there is none."""
    if accuracy is None:
        return RunPlan.from_json(plan)
    return RunRecord.from_json(plan | {"accuracy_last": accuracy, "accuracy_best": accuracy} | FIRST)
