"""Every model and dataset has its YAML file, every dataset its card."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from prune_cli.common.registry import Registry
from prune_cli.data.registry import datasets
from prune_cli.models.registry import models

ROOT = Path(__file__).parents[2]
REGISTRIES: dict[str, Registry[Any]] = {"model": models, "dataset": datasets}
PARTS = [(group, name) for group, registry in REGISTRIES.items() for name in registry.classes]
HEADINGS = ["What it is", "Source", "Licence", "Classes", "Splits", "Shape", "How to get it"]


def options(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_names_in_yaml_are_those_that_are_registered(group: str) -> None:
    files = sorted((ROOT / "configs" / group).glob("*.yaml"))
    registered = set(REGISTRIES[group].classes)
    assert {options(file)["name"] for file in files} == registered
    assert registered <= {file.stem for file in files}


@pytest.mark.parametrize(("group", "name"), PARTS)
def test_the_yaml_file_of_a_part_shows_every_option_with_its_default(group: str, name: str) -> None:
    shown = options(ROOT / "configs" / group / f"{name}.yaml")
    assert shown.pop("name") == name
    fields = dataclasses.fields(REGISTRIES[group].classes[name])
    assert set(shown) == {field.name for field in fields}
    for field in fields:
        if field.default_factory is not dataclasses.MISSING:
            assert shown[field.name] == field.default_factory()
        elif field.default is not dataclasses.MISSING:
            assert shown[field.name] == field.default


def test_every_dataset_has_a_card_and_every_card_a_dataset() -> None:
    assert {card.parent.name for card in (ROOT / "datasets").glob("*/README.md")} == set(datasets.classes)


@pytest.mark.parametrize("name", datasets.classes)
def test_a_card_says_what_how_and_under_which_licence(name: str) -> None:
    lines = (ROOT / "datasets" / name / "README.md").read_text().splitlines()
    found = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS
    assert lines[0].startswith(f"# {name}")
    assert f"dataset={name}" in "\n".join(lines)
    for before, after in zip(lines, lines[2:], strict=False):
        assert not (before.startswith("## ") and after.startswith("## ")), f"nothing under {before}"


def test_a_dataset_folder_holds_no_python_package() -> None:
    assert not list((ROOT / "datasets").glob("**/__init__.py"))
