"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_cli.commands.request import from_scratch
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import parse
from prune_cli.pipeline import composer
from prune_cli.runs.places import Places
from prune_cli.scorers import scorers
from prune_cli.sweeps.plan import expand

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = ("score", "prune", "sweep", "train", "build-data")


def typed() -> Iterator[list[str]]:
    """The words of every command with overrides that a README block shows."""
    for block in re.findall(r"```\n(.*?)```", README, re.S):
        for line in block.splitlines():
            words = shlex.split(line.split("#")[0])
            if words[:1] == ["prune-cli"] and words[1:2] and words[1] in COMMANDS:
                yield words[1:]


@pytest.mark.parametrize("words", list(typed()), ids=" ".join)
def test_every_command_composes(words: list[str]) -> None:
    of_options = {after for option, after in pairwise(words) if option == "--launcher-opt"}
    overrides = [word for word in words[1:] if "=" in word and not word.startswith("--") and word not in of_options]
    overrides = from_scratch(overrides) if words[0] == "train" else overrides
    fixed, axes = parse(overrides, Catalogue())
    made = composer(Places())
    points = expand(fixed, axes)
    assert len(points) == 1 or words[0] == "sweep"
    assert all(made.settings(point) for point in points)


def test_the_scorer_that_it_adds_is_a_whole_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "@scorers.register" in block)
    monkeypatch.setattr(scorers, "_classes", dict(scorers._classes))
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    model = nn.Linear(3, 2)
    batch = (torch.ones(4, 3), torch.tensor([0, 1, 0, 0]))
    scores = scorers.build("movement")(model, [batch], {"weight": model.weight})
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    expected = -torch.autograd.grad(loss, model.weight)[0] * model.weight
    torch.testing.assert_close(scores["weight"], expected.detach())
