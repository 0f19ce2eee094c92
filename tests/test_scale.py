"""The estimate of the report's tables counts what it says."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "scale.py"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["scale"] = importlib.util.module_from_spec(spec)  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table1(scale: ModuleType) -> list[Any]:
    return scale.runs_of("table1")


def test_the_flops_of_vit_b16_are_those_worked_out_by_hand(table1: list[Any]) -> None:
    tokens, width, layers, classes = 197, 768, 12, 10
    blocks = layers * (12 * tokens * width**2 + 2 * tokens**2 * width)  # qkv, proj, fc1, fc2; then attention's products
    macs = (tokens - 1) * 3 * 16**2 * width + blocks + width * classes
    assert table1[0].settings.model.name == "vit_b16"
    assert table1[0].outline.flops == 2 * macs


@pytest.mark.slow
def test_every_model_has_about_the_published_flops(scale: ModuleType, table1: list[Any]) -> None:
    counted = {run.settings.model.name: run.outline.flops / 2e9 for run in table1}
    assert counted == pytest.approx(scale.GMACS, rel=0.01)


def test_a_run_is_its_epochs_of_training_and_evaluation(table1: list[Any]) -> None:
    assert table1[0].flops == 150 * (3 * 50_000 + 10_000) * table1[0].outline.flops


def test_the_grid_of_table_1_is_the_report_s(scale: ModuleType, table1: list[Any]) -> None:
    assert len(table1) == 6 * 3 * 2 * 2
    assert {title: len(runs) for title, runs in scale.by_model(table1).items()} == dict.fromkeys(
        ("ViT-B/16", "ViT-L/16", "Mixer-B/16", "Mixer-L/16", "Pool-M36", "Pool-M48"), 12
    )


def test_scores_are_written_once_for_all_sparsities(table1: list[Any]) -> None:
    written = {key: size for run in table1 if run.settings.model.name == "vit_b16" for key, size in run.scoring.items()}
    assert list(written.values()) == [4 * 84_934_656] * 4  # two datasets, two scorers


def test_a_checkpoint_holds_the_weights_and_adam_s_two_numbers_a_survivor(table1: list[Any]) -> None:
    run = table1[0]
    everything = sum(p.numel() for p in run.outline.module.parameters())
    trained = everything - 84_934_656 + run.kept
    assert run.checkpoint == 4 * everything + 2 * 4 * trained


@pytest.mark.parametrize("text", ["0", "-0.1", "1.01", "nan"])
def test_a_utilisation_that_is_no_share_is_refused(scale: ModuleType, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        scale.utilisation(text)
