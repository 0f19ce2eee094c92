"""What a refusal says to type next is typed: commands run, and a KEY=VALUE is accepted in place of the wrong word.

The commands run with --dry-run where they would train. Hints that are advice in prose ("another scorer") have nothing to
be typed and are not here.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Answer, everything_in

import prune_cli
from prune_cli.cli import app
from prune_cli.execution.request import settings_of
from prune_cli.runs.paths import Paths

Run = Callable[..., Answer]
COMMANDS: dict[str, str] = {  # what is typed -> the command that the hint is
    "show f107": "prune-cli --help",
    "--jsn ls": "prune-cli --help",
    "prun": "prune-cli prune --help",
    "prune --dry-runn": "prune-cli prune --help",
    "table 3": "prune-cli table --help",
    "prune -m scorer=snip,random": "prune-cli sweep scorer=snip,random",
    "sweep --multirun seed=0,1": "prune-cli sweep seed=0,1",
    "prune scorer=snip,grasp seed=3": "prune-cli sweep scorer=snip,grasp seed=3",
    "train seed=0,1": "prune-cli sweep sparsity=dense model.weights=random seed=0,1",
    "prune experiment=demo": "prune-cli sweep experiment=demo",
    "sweep experiment=demo,units": "prune-cli sweep experiment=demo",
    "prune scorer": "prune-cli ls scorer",
    "prune scorer.name=grasp": "prune-cli ls scorer",
    "sweep scorer=glob(x*)": "prune-cli ls scorer",
    "prune +scorer=snip": "prune-cli ls",
    "prune hydra.run.dir=x": "prune-cli ls",
    "ls scor": "prune-cli ls scorer",
    "ls recipes": "prune-cli ls recipe",
}
WORDS: dict[str, str] = {  # what is typed, the wrong word last -> the word that the hint names
    "prune scorer=snap": "scorer=snip",
    "prune scorer=mag": "scorer=magnitude",
    "prune scorrer=snip": "scorer=snip",
    "prune recipes.epochs=3": "recipe.epochs=3",
    "prune scorer.alfa=1": "scorer.alpha=1",
    "prune scorer=grasp scorer.temprature=200": "scorer.temperature=200",
    "prune scorer.alpha=x": "scorer.alpha=0.001",
    "prune scoring=4": "scoring.batches=null",
    "prune seed.more=1": "seed=0",
    "prune sparsity=0.98": "sparsity=98",
    "prune sparsity=120": "sparsity=98",
    "prune sparsity.scope=globe": "sparsity.scope=global",
    "prune sparsity.min_kept_per_tensor=-1": "sparsity.min_kept_per_tensor=0",
    "prune recipe.epochs=-3": "recipe.epochs=1",
    "prune recipe.epochs=x": "recipe.epochs=10",
    "prune recipe.batch_size=0": "recipe.batch_size=1",
    "prune recipe.lr=-1": "recipe.lr=0.001",
    "prune recipe.clip_norm=-1": "recipe.clip_norm=1",
    "prune recipe.ema_decay=1": "recipe.ema_decay=null",
    "prune recipe.label_smoothing=1": "recipe.label_smoothing=0",
    "prune recipe.cutmix_prob=2": "recipe.cutmix_prob=1",
    "prune recipe.warmup_epochs=10": "recipe.warmup_epochs=9",
    "prune scoring.batches=0": "scoring.batches=1",
    "prune scoring.batch_size=0": "scoring.batch_size=128",
    "prune compute.device=gpu": "compute.device=cpu",
    "prune compute.precision=fp16": "compute.precision=fp64",
    "prune compute.threads=0": "compute.threads=1",
    "prune compute.threads=99999": "compute.threads=1024",
    "prune compute.checkpoint_steps=0": "compute.checkpoint_steps=null",
    "prune control=shufle": "control=shuffle",
    "prune control.kind=shufle": "control.kind=shuffle",
    "prune removal=wieghts": "removal=weights",
    "prune model=timm model.arch=vit_tinny_patch16_224": "model.arch=vit_tiny_patch16_224",
    "prune model=timm model.arch=vit_tiny_patch16_224 model.image_size=0": "model.image_size=null",
    "prune dataset=fashion_mnist dataset.train_images=0": "dataset.train_images=null",
    "prune scorer=transfer_entropy scorer.keep=lo": "scorer.keep=low",
    "prune scorer=transfer_entropy scorer.bins=1": "scorer.bins=2",
    "prune scorer=fisher scorer.chunk_mib=0": "scorer.chunk_mib=1024",
    "build-data dataset=action_mnist dataset.frames=x": "dataset.frames=20",
}


def hint(answer: Answer) -> str:
    assert (answer.code, answer.out) == (2, ""), answer.err
    last = answer.lines[-1]
    assert last.startswith("try: "), answer.err
    return last.removeprefix("try: ")


@pytest.mark.parametrize(("typed", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_hint_that_is_a_command_runs(run: Run, here: Path, typed: str, command: str) -> None:
    said = hint(run(*shlex.split(typed))).removeprefix("did you mean ").removesuffix("?")
    assert said == command
    words = shlex.split(said)[1:]
    again = run(*words, *(["--dry-run"] if words[0] == "sweep" else []))
    assert again.code == 0, again.err
    assert everything_in(here) == set()


@pytest.mark.parametrize(("typed", "word"), WORDS.items(), ids=WORDS)
def test_a_hint_that_is_a_word_is_accepted_in_its_place(run: Run, here: Path, typed: str, word: str) -> None:
    command, *words = shlex.split(typed)
    said = hint(run(command, *words))
    assert word in re.findall(r"[\w.]+=[^\s,;:?]+", said), said
    assert settings_of([*words[:-1], word], Paths(), command)
    assert everything_in(here) == set()


def written() -> Iterator[tuple[str, str]]:
    """Every text of the package that is a whole command, and where it stands."""
    for path in sorted(Path(prune_cli.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in parts else None
            if isinstance(text, str) and re.match(r"prune-cli \S", text) and not text.endswith((" ", "--help")):
                yield text, f"{path.name}:{node.lineno}"


def test_every_command_in_the_source_is_one() -> None:
    command: Any = typer.main.get_command(app)
    found = list(written())
    assert len(found) > 5
    for text, where in found:
        parsed = command.make_context("prune-cli", shlex.split(text)[1:])
        name, chosen, rest = command.resolve_command(parsed, [*parsed._protected_args, *parsed.args])
        assert chosen.make_context(name, rest, parent=parsed), where
