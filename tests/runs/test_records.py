"""Plans and records as JSON: back and forth, older ones, keys of newer ones, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prune_cli.runs.plan import RunPlan

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


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key not in keys}


def test_a_plan_comes_back_from_its_json_byte_by_byte() -> None:
    plan = RunPlan.from_json(PLAN)
    assert (plan.hash, plan.kept, plan.kind, plan.target) == ("0123456789ab", 25, "prune", "heads")
    assert json.dumps(plan.to_json()) == json.dumps(PLAN)
    assert RunPlan.from_json(plan.to_json()) == plan


def test_a_plan_older_than_targets_removes_weights_and_says_no_more_than_it_did() -> None:
    old = without(PLAN, "removal")
    assert RunPlan.from_json(old).target == "weights"
    assert json.dumps(RunPlan.from_json(old).to_json()) == json.dumps(old)


def test_keys_of_a_newer_version_are_kept() -> None:
    newer = PLAN | {"colour": ["red"]}
    plan = RunPlan.from_json(newer)
    assert plan.extra == {"colour": ["red"]}
    assert plan.to_json() == newer
    assert RunPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("key", [key for key in PLAN if key != "removal"])
def test_a_plan_without_one_of_its_keys_is_none(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        RunPlan.from_json(without(PLAN, key))


def test_a_run_in_a_few_words() -> None:
    assert RunPlan.from_json(PLAN).title == "ViT-micro on MNIST-5k, SNIP, 97.5 %, seed 1"
    dense = PLAN | {"method": "dense", "method_title": "Dense", "sparsity": 0.0}
    assert RunPlan.from_json(dense).title == "ViT-micro on MNIST-5k, dense, seed 1"
