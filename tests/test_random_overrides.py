"""Random overrides: each is accepted, or refused by an error of ours in three lines or fewer; nothing is written."""

from __future__ import annotations

import dataclasses
import os
import random
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer, everything_in

from prune_cli import pipeline
from prune_cli.common.device import Compute
from prune_cli.common.random import derive
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.schema import GROUPS, Scoring
from prune_cli.data.registry import datasets
from prune_cli.masks.allocate import Sparsity
from prune_cli.masks.controls import ControlChoice
from prune_cli.models.registry import models
from prune_cli.scorers import scorers
from prune_cli.targets import Removal
from prune_cli.training.recipe import Recipe

PARTS = {
    "model": models.classes,
    "dataset": datasets.classes,
    "scorer": scorers.classes,
    **{"sparsity": {"": Sparsity}, "removal": {"": Removal}, "control": {"": ControlChoice}, "recipe": {"": Recipe}},
    **{"compute": {"": Compute}, "scoring": {"": Scoring}},
}
OPTIONS = {group: sorted(found) for group, found in Catalogue().options.items()}
MICRO, VIDEOS, STILL = (
    ("vit_micro", "mixer_micro", "poolformer_micro"),
    ("action_mnist", "uiuc_video"),
    ("mnist5k", "optdigits"),
)
SMALL = [
    *((model, data) for model in MICRO for data in STILL),
    *(("lstm128", data) for data in (*VIDEOS, *VIDEOS, "mnist5k")),
]
GOOD = {group: names for group, names in OPTIONS.items() if group not in ("model", "dataset", "experiment")}
GOOD["sparsity"] = [*(name for name in GOOD["sparsity"] if name != "custom"), "97.3", "0", "50"]
NUMBERS = ("0", "1", "2", "3", "7", "50", "0.5", "97.3", "100", "-1", "-0.0", "1e-3", "1e400", "-1e400", "nan", "inf")
HUGE = (
    "9" * 30,
    "-" + "9" * 30,
    "1_000",
    str(2**31),
    str(2**63),
    str(2**64),
    "1e18",
    "0x10",
    "1e-400",
    "00",
    "1.",
    ".5",
)
TEXTS = ("", "null", "true", "False", "auto", "cpu", "adam", "sgd", "global", "row", "2:4", "8:4", "packaged", "random")
PATHS = (
    "../x",
    "packaged:../../x",
    "hub:../x",
    "/",
    ".",
    "..",
    "~",
    "~nobody/x",
    "/etc/passwd",
    "/dev/null",
    "a/b",
    "C:\\x",
)
ODD = (
    "é",
    "日本",
    "\u202e",
    "\x00",
    "\n",
    "\t",
    "\x1b[31m",
    "a b",
    "'",
    '"',
    "''",
    '"a b"',
    "'a''b'",
    "\\",
    "\\'",
    "=",
    "a=b",
)
SHAPES = (
    "[]",
    "[1,2]",
    "['a']",
    "[",
    "]",
    "{}",
    "{a:1}",
    "{a:{b:[]}}",
    "{",
    "(",
    ")",
    "[[[[]]]]",
    "[null]",
    "[*]",
    "[a*,b.*]",
)
SWEEPS = (
    "1,2",
    "a,b",
    "range(1,3)",
    "range(3,1)",
    "range(0,1,0)",
    "choice(1,2)",
    "choice()",
    "glob(*)",
    "glob(x)",
    "interval(0,1)",
)
CASTS = (
    "int(3)",
    "float(x)",
    "str(1)",
    "bool(2)",
    "json_str({})",
    "shuffle(1,2)",
    "sort(2,1)",
    "extend_list(a)",
    "f(x)",
)
INTERPOLATED = (
    "${seed}",
    "${oc.env:HOME}",
    "${",
    "$",
    "$(id)",
    "`id`",
    ";id",
    "%s",
    "{0}",
    "???",
    "#",
    "@",
    "!!python/object:os",
)
PATTERNS = (
    "[]",
    "['*']",
    "['blocks.*']",
    "[head.weight]",
    "['[']",
    "['blocks.0.*','blocks.*']",
    "[lstm.weight_hh_l0]",
    "[1]",
)
FITTING = {  # values that an option of this name, or else of this type, may have, in range or nearly so
    "weights": ("packaged", "random", "packaged:600", "hub"),
    "prunable": PATTERNS,
    "device": ("auto", "cpu"),
    "threads": ("1", "2", "null"),
    "precision": ("fp32", "bf16"),
    "optimizer": ("adam", "adamw", "sgd", "rmsprop"),
    "scope": ("global", "layer", "row"),
    "pattern": ("null", "2:4", "4:8"),
    "keep": ("low", "high"),
    "source": ("label", "output"),
    "control.kind": OPTIONS["control"],
    "removal.kind": OPTIONS["removal"],
    "int": ("0", "1", "2", "3", "4", "8", "16", "100", "1000", "null"),
    "float": ("0", "0.1", "0.5", "0.9", "1", "1e-3", "20", "null"),
    "bool": ("true", "false", "True", "yes", "1", "no"),
}
TOP = ("seed", "mask", "scoring", "sweep", "nothing", "model.nothing", "model.name", "recipe.lr.x", "sparsity")
VALUES = (NUMBERS, NUMBERS, HUGE, TEXTS, TEXTS, PATHS, ODD, SHAPES, SWEEPS, CASTS, INTERPOLATED)
BROKEN = (
    "",
    "=",
    "==",
    "x",
    "+seed=1",
    "++seed=1",
    "~model",
    "~seed",
    "model@x=y",
    "hydra.run.dir=/tmp/x",
    "é=1",
    "model",
    "--",
)


def words(number: int) -> list[str]:
    """The overrides of one case, always the same: up to six, most of them on top of a small model and its dataset.

    In a third of the cases every word means something, in another third nearly none does.
    """
    draw = random.Random(derive(0, "random overrides", number))
    wild = draw.choice((0.0, 0.15, 0.7))
    model, data = draw.choice(SMALL)
    chosen = {"model": model, "dataset": data} if draw.random() < 0.9 else {"model": model}
    chosen |= {group: draw.choice(GOOD[group]) for group in ("scorer", "sparsity", "recipe") if draw.random() < 0.4}
    made = [_word(draw, chosen, wild) for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4, 5, 6)))]
    return [*(f"{group}={name}" for group, name in chosen.items()), *made]


def _word(draw: random.Random, chosen: dict[str, str], wild: float) -> str:
    if draw.random() < wild:
        group = draw.choice(GROUPS)
        odd = f"{draw.choice(TOP)}={_value(draw)}"
        return draw.choice(
            (
                f"{group}={_value(draw)}",
                f"{_key(draw, {})[0]}={_value(draw)}",
                odd,
                draw.choice(BROKEN),
                _garbled(draw, odd),
            )
        )
    key, kind = _key(draw, chosen)
    group = draw.choice([group for group in GOOD if group not in chosen])
    of_type = next((good for name, good in FITTING.items() if name in kind), TEXTS)
    good = FITTING.get(key) or FITTING.get(key.partition(".")[2]) or of_type
    return draw.choice(
        (f"{key}={draw.choice(good)}", f"{key}={draw.choice(good)}", f"{group}={draw.choice(GOOD[group])}")
    )


def _key(draw: random.Random, chosen: dict[str, str]) -> tuple[str, str]:
    """An option of the parts that were chosen, or of any, and its type."""
    top = draw.choice(sorted(PARTS))
    part = PARTS[top].get(chosen.get(top, ""), draw.choice(list(PARTS[top].values())))
    name, kind = draw.choice([(field.name, str(field.type)) for field in dataclasses.fields(part)] or [("x", "int")])
    return f"{top}.{name}", kind


def _value(draw: random.Random) -> str:
    """Anything, quoted now and then so that Hydra's grammar lets it pass."""
    value = draw.choice(draw.choice(VALUES))
    if draw.random() < 0.3:
        value = "'" + value.replace("'", "\\'") + "'"
    return _garbled(draw, value) if draw.random() < 0.05 else value


def _garbled(draw: random.Random, text: str) -> str:
    """With a piece of it twice, gone, or made of something else."""
    start, stop = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
    instead = draw.choice(("", text[start:stop] * 2, draw.choice(ODD), draw.choice("=.,[]{}()'\"+~@$:")))
    return text[:start] + instead + text[stop:]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data is read once for all cases, as in a sweep."""
    made: dict[bool, pipeline.JobFactory] = {}
    factory = pipeline.JobFactory
    monkeypatch.setattr(pipeline, "JobFactory", lambda paths, fetch: made.setdefault(fetch, factory(paths, fetch)))


def files(folder: Path) -> set[str]:
    """Every file under a folder, but for the cache of facts, which a dry run may fill."""
    return {name for name in everything_in(folder) if not name.startswith("facts")}


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("numbers", [range(12), pytest.param(range(12, 2000), marks=pytest.mark.slow)])
def test_random_overrides_are_accepted_or_refused_in_our_own_words(
    run: Callable[..., Answer], here: Path, tmp_path_factory: pytest.TempPathFactory, numbers: range
) -> None:
    around = [here.parent, Path(os.environ["PRUNE_CLI_DATA"]), tmp_path_factory.getbasetemp()]
    before = [files(folder) for folder in around]
    codes: Counter[int] = Counter()
    for number in numbers:
        answer = run("prune", "--dry-run", "--json", "--", *words(number))
        codes[answer.code] += 1
        assert_answered(answer.code, answer.lines, number)
        assert [files(folder) for folder in around] == before, told(number)
    assert sum(codes.values()) == len(numbers)
    assert codes[0] > len(numbers) / 10 < codes[2]  # so that both mean something
    print(f"{codes[0]} accepted, {codes[2]} refused")


@pytest.mark.slow
def test_random_overrides_typed_as_real_commands(here: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    codes: Counter[int] = Counter()
    typable = [number for number in range(2000) if "\0" not in "".join(words(number))]  # no shell passes a NUL on
    for number in typable[:100]:
        command = [sys.executable, "-m", "prune_cli", "prune", "--dry-run", "--", *words(number)]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300)
        codes[done.returncode] += 1
        assert_answered(done.returncode, done.stderr.strip().splitlines(), number)
        assert everything_in(here) == set(), told(number)
    assert codes[0] > 10 < codes[2]
    print(f"{codes[0]} accepted, {codes[2]} refused")


def assert_answered(code: int, lines: list[str], number: int) -> None:
    assert code in (0, 2), (told(number), lines)
    assert "Traceback" not in "".join(lines), told(number)
    if code == 2:
        assert 1 <= len(lines) <= 3 and lines[0].startswith("error: "), (told(number), lines)


def told(number: int) -> str:
    """What to type to see a case again."""
    return f"case {number}: prune-cli prune --dry-run -- {shlex.join(words(number))}"


def test_the_cases_are_always_the_same() -> None:
    assert words(3) == words(3) != words(4)
    every = [word for number in range(2000) for word in words(number)]
    assert all(any(word.startswith(f"{top}.") for word in every) for top in PARTS)
    assert {word.partition("=")[0] for word in every} >= {*GROUPS, "seed", "mask"}


@pytest.mark.parametrize("number", [2**31, -(2**63), 10**30])
@pytest.mark.parametrize("key", ["compute.threads", "recipe.epochs", "scoring.batches", "sparsity.min_kept_per_tensor"])
def test_a_number_that_nothing_counts_up_to_is_refused(run: Callable[..., Answer], key: str, number: int) -> None:
    answer = run("prune", "--dry-run", f"{key}={number}")
    assert answer.code == 2
    assert key in answer.err
    assert len(answer.lines) <= 3
