"""What is answered without torch: asked of fresh interpreters, by the modules that they have imported, not by the clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

HEAVY = ("torch", "timm", "torchvision", "scipy.stats", "matplotlib", "pandas", "sklearn", "mlxtend", "skimage")
SETTINGS_OF_EVERY_CHOICE = """
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.schema import Point
from prune_cli.pipeline import composer
from prune_cli.runs.paths import Paths

made = composer(Paths())
for group, choices in Catalogue().options.items():
    for choice in choices:
        typed = {"sparsity.percent": 97.3} if choice == "custom" else {}
        if group != "experiment" and (group != "model" or choice in SMALL):
            made.settings(Point({group: choice}, typed))
"""
SMALL = ("vit_micro", "mixer_micro", "poolformer_micro", "lstm128")  # timm itself knows what its architectures are


def imported(code: str, cwd: Path) -> list[str]:
    """The heavy libraries that a fresh interpreter has imported after this code."""
    ending = f"\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    said = subprocess.run([sys.executable, "-c", code + ending], cwd=cwd, check=True, capture_output=True, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def test_settings_of_every_choice_are_typed_and_checked_without_torch(tmp_path: Path) -> None:
    assert imported(f"SMALL = {SMALL}\n" + SETTINGS_OF_EVERY_CHOICE, tmp_path) == []


@pytest.mark.slow
def test_the_test_sees_what_is_imported(tmp_path: Path) -> None:
    assert imported("from prune_cli.common.lazy import torch\ntorch.zeros(1)", tmp_path) == ["torch"]


WRONG = (("prune", "scorer.alfa=1"), ("prune", "scorer=magnitude", "scorer.alpha=1"))
TYPED = """
import sys
from prune_cli.cli import main
for words, code in {commands}:
    sys.argv = ["prune-cli", *words]
    try:
        main()
    except SystemExit as end:
        assert (end.code or 0) == code, (words, end.code)
    assert not {{"torch", "timm", "torchvision"}} & set(sys.modules) or words in {computing}, words
"""
RUN = ("prune", "scorer=magnitude", "compute.device=cpu", *QUICK)


def heavy_after(
    *commands: tuple[str, ...], cwd: Path, computing: tuple[tuple[str, ...], ...] = (), code: int = 0
) -> list[str]:
    """The heavy libraries that one process has imported after these commands; torch and timm by none but `computing`."""
    return imported(TYPED.format(commands=[(words, code) for words in commands], computing=computing), cwd)


def test_a_wrong_option_of_a_part_is_refused_without_torch(tmp_path: Path) -> None:
    assert heavy_after(*WRONG, cwd=tmp_path, code=2) == []


def test_what_is_known_already_is_answered_without_torch(
    tmp_path: Path, built_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNE_CLI_DATA", str(built_data))
    assert "torch" in heavy_after(RUN, cwd=tmp_path, computing=(RUN,))
    sweep = ("sweep", *RUN[1:], "seed=0,1", "--dry-run")
    heavy_after(RUN, sweep, ("table", "1"), ("ls",), ("ls", "scorer", "--json"), ("verify",), cwd=tmp_path)


@pytest.mark.slow
def test_a_plan_imports_torch_the_first_time_alone(tmp_path: Path) -> None:
    words = ("prune", "model=timm", "model.arch=resnet18", "model.weights=random", "dataset=optdigits", "--dry-run")
    assert "torch" in heavy_after(words, cwd=tmp_path, computing=(words,))
    heavy_after(words, cwd=tmp_path)
