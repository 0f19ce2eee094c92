"""What the README, the pages under docs/ and the help show works as it stands there.

Python is executed and YAML composed. Commands are parsed, with their options, and what is typed as KEY=VALUE is composed
to settings, as the command does before it looks at any data; names in capitals (RUN, HASH, DIR, FOLDER, PATH, IMAGENET,
FILE) stand for what only a user has. Left out: a span in prose that has a … is no whole command; `table`, `verify`,
`pack`, `evaluate`, `shrink`, `export`, `bench` and `run` are parsed alone, because they begin with finished runs, and so is
what a launcher does with its options, because some launchers are not installed here.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from torch import nn

from prune_cli.cli import app
from prune_cli.config.schema import Settings
from prune_cli.execution import grid
from prune_cli.execution.request import USED, check_used, settings_of
from prune_cli.execution.trained_models import MEASURES
from prune_cli.models.card import ModelCard
from prune_cli.models.vit_micro import ViTMicro
from prune_cli.plugins import catalogue
from prune_cli.runs.compressed import write_model
from prune_cli.runs.paths import Paths
from prune_cli.scorers import scorers

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "datasets").glob("*/README.md"))
API, EXTENDING = ROOT / "docs/api.md", ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
SINGLE = ("score", "prune", "train", "build-data")  # commands of one run
COMMAND: Any = typer.main.get_command(app)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language; `` is what a shell takes, or what it prints."""
    return [code for name, code in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def lines(page: Path) -> Iterator[str]:
    """Every line of shell on a page: in blocks, indented, and in the spans of its prose."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page, ""):
        yield from block.splitlines()
    prose = BLOCK.sub("", text)
    yield from re.findall(r"^ {4}(\S.*)$", prose, re.M)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose) if "…" not in span)


def shown() -> dict[str, list[str]]:
    """The words of every command of ours on a page or at the end of a help text, each once."""
    typed = [line for page in PAGES for line in lines(page)]
    typed += [line for command in app.registered_commands for line in str(command.epilog).splitlines()]
    found = [line.strip() for line in typed if line.strip().startswith("prune-cli ")]
    words = [shlex.split(line, comments=True)[1:] for line in found]
    return {" ".join(typed): typed for typed in words}


def targets() -> set[str]:
    """Every `make TARGET` of the pages."""
    typed = [line for page in PAGES for line in lines(page)]
    return {words[1] for line in typed if (words := line.split())[:1] == ["make"] and len(words) > 1}


def composed(command: str, words: list[str], paths: Paths) -> list[Settings]:
    """What the command makes of its KEY=VALUE words before it looks for data."""
    if command in SINGLE:
        return [settings_of(words, paths, command)]
    check_used(words, command)
    extra = {"drift": ["sparsity=dense"], "ablate": [MEASURES], "dynamics": [MEASURES]}.get(command, [])
    more = [word for word in extra if not any(own.startswith(word.partition("=")[0] + "=") for own in words)]
    return grid.grid_settings([*more, *words], paths)


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds the plug-in that the pages add; afterwards it is registered no longer."""
    code = next(code for code in blocks(EXTENDING, "python") if "@scorers.register" in code)
    (tmp_path / "movement.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield
    catalogue(Paths())


@pytest.mark.usefixtures("own_file")
@pytest.mark.parametrize("words", shown().values(), ids=shown())
def test_every_command_is_understood(words: list[str]) -> None:
    parsed = COMMAND.make_context("prune-cli", list(words))
    name, command, rest = COMMAND.resolve_command(parsed, [*parsed._protected_args, *parsed.args])
    typed = command.make_context(name, rest, parent=parsed).params  # Typer refuses an option that does not exist
    if "words" in typed:
        assert composed(name, typed["words"] or [], Paths(plugins=tuple(typed["plugin"])))


def test_the_commands_shown_are_many_and_of_every_kind() -> None:
    """Or a change of their layout could hide them from these tests."""
    assert len(shown()) > 80
    assert {words[0] for words in shown().values()} >= {
        *SINGLE,
        *USED,
        "sweep",
        "table",
        "shrink",
        "export",
        "bench",
        "verify",
        "pack",
        "ls",
    }


def test_every_target_of_make_exists() -> None:
    made = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test", "setup", "study"} <= targets() <= made


def test_every_extra_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for page in PAGES for extra in re.findall(r"prune-cli\[(\w+)\]", page.read_text())}
    assert {"joblib", "slurm", "ray"} <= named <= set(extras)


@pytest.fixture
def own_scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a snippet registers is forgotten after the test."""
    monkeypatch.setattr(scorers, "_classes", dict(scorers.classes))


def executed(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(code, "snippet", "exec", dont_inherit=True), names)  # without this file's __future__
    return names


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds the file that the pages load."""
    monkeypatch.chdir(tmp_path)
    card = ModelCard.of(ViTMicro("random"), ["cat", "dog"])
    write_model(tmp_path / "vit.safetensors", card.build().state_dict(), {}, card.to_json())


@pytest.mark.usefixtures("own_scorers", "model_file")
@pytest.mark.parametrize("code", [code for page in PAGES for code in blocks(page, "python")])
def test_python_runs_as_it_stands(code: str) -> None:
    assert executed(code)


def test_what_the_python_page_says_of_its_results() -> None:
    found = executed(next(code for code in blocks(API, "python") if "find_mask" in code))
    kept = 300 * 784 - round(0.98 * 300 * 784)
    assert (int(found["mask"]["1.weight"].sum()), int(found["model"][1].weight.count_nonzero())) == (kept, kept)
    assert found["scores"]["1.weight"].shape == (300, 784)
    assert (found["units"]["lstm"].shape, found["small"].lstm.hidden_size, found["te"].shape) == ((128,), 64, (3,))


@pytest.mark.usefixtures("own_scorers")
def test_the_scorer_that_it_adds_is_a_whole_scorer(tmp_path: Path) -> None:
    executed(next(code for code in blocks(EXTENDING, "python") if "@scorers.register" in code))
    model = nn.Linear(3, 2)
    batch = (torch.ones(4, 3), torch.tensor([0, 1, 0, 0]))
    scores = scorers.build("movement")(model, [batch], {"weight": model.weight})
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    expected = -torch.autograd.grad(loss, model.weight)[0] * model.weight
    torch.testing.assert_close(scores["weight"], expected.detach())
    (text,) = blocks(EXTENDING, "yaml")
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer/movement.yaml").write_text(text)
    assert yaml.safe_load(text) == {"name": "movement"}
    made = settings_of(["scorer=movement"], Paths(configs=tmp_path), "prune")
    assert made.scorer == scorers.build("movement")
