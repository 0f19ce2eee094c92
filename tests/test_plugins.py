"""Plug-ins: a scorer, model or dataset of a user's own, from a file or an installed package, without a change of the install."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from conftest import Answer
from named_jobs import named_job

from prune_cli import plugins
from prune_cli.common.errors import ConfigError, RequestError
from prune_cli.common.registry import Registry
from prune_cli.config import compose
from prune_cli.data.registry import datasets
from prune_cli.execution.request import settings_of
from prune_cli.execution.stored_run import check_plugins
from prune_cli.models.registry import models
from prune_cli.models.sources import Weights
from prune_cli.pipeline.job import prune_identity
from prune_cli.plugins import catalogue
from prune_cli.runs.identity import versioned_options
from prune_cli.runs.paths import Paths
from prune_cli.scorers import scorers

Run = Callable[..., Answer]
SCORER = '''
from __future__ import annotations
from dataclasses import dataclass
from prune_cli.scorers.registry import scorers

@scorers.register("movement")
@dataclass(frozen=True)
class Movement:
    """The size of a weight, to a power."""

    title = "Movement"
    power: float = 1.0

    def __call__(self, model, batches, parameters):
        return {name: p.detach().abs() ** self.power for name, p in parameters.items()}
'''
OTHERS = """
from dataclasses import dataclass
from prune_cli.data.optdigits import OptDigits
from prune_cli.data.registry import Split, Splits, datasets
from prune_cli.execution.stored_run import check_plugins
from prune_cli.models.registry import models
from prune_cli.models.sources import Weights
from prune_cli.pipeline.job import prune_identity
from prune_cli.models.vit_micro import ViTMicro

@models.register("vit_own")
@dataclass(frozen=True)
class OwnModel(ViTMicro):
    "A model."

@datasets.register("digits_own")
@dataclass(frozen=True)
class OwnDigits(OptDigits):
    "A dataset."
"""


@pytest.fixture(autouse=True)
def ours_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configs are read again in each test, and afterwards the registries hold our own classes."""
    monkeypatch.setattr(compose, "hydra_compose", hydra.compose)
    yield
    monkeypatch.undo()
    catalogue(Paths())


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def scorer_of(*words: str, **paths: Any) -> Any:
    return settings_of(["scorer=movement", *words], Paths(**paths), "prune").scorer


def refused(**paths: Any) -> RequestError:
    with pytest.raises(RequestError) as found:
        scorer_of(**paths)
    assert len(found.value.lines()) == 3
    return found.value


def test_a_scorer_of_ones_own_from_an_empty_folder(run: Run, here: Path) -> None:
    file = written(here / "movement.py", SCORER)
    written(here / "scorer/movement.yaml", "# The size, squared.\nname: movement\npower: 2.0  # of the size\n")
    smoke = ("scorer=movement", "model.weights=random", "recipe=smoke", "sparsity=90", "--plugin", "movement.py")
    listed = {
        choice["name"]: choice for choice in run("ls", "scorer", "--plugin", "movement.py", "--json").json["choices"]
    }
    assert (listed["movement"]["from"], listed["snip"]["from"]) == ("movement.py", "prune-cli")
    assert listed["movement"]["description"] == "The size, squared."
    assert [(o["default"], o["description"]) for o in listed["movement"]["options"]] == [(2.0, "of the size")]

    first = run("prune", *smoke, "--json").json
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert first["identity"]["scorer"] == {"name": "movement", "power": 2.0, "source_sha256": digest}
    swept = run("sweep", *smoke, "seed=0,1", "--json").json  # the second seed in a process of its own
    assert (len(swept["runs"]), swept["failed"], swept["runs"][0]["hash"]) == (2, [], first["hash"])
    assert "finished" in run("prune", *smoke).err
    assert run("evaluate", first["hash"], "--plugin", "movement.py").code == 0
    missing = run("evaluate", first["hash"])
    assert (missing.code, len(missing.lines)) == (2, 3)
    assert "is of a plug-in" in missing.lines[0] and digest[:12] in missing.lines[2]

    written(file, SCORER.replace("abs()", "square()"))
    other = run("evaluate", first["hash"], "--plugin", "movement.py")
    assert other.code == 2 and "has changed" in other.lines[0]
    second = run("prune", *smoke, "--json").json
    assert second["hash"] != first["hash"]
    table = run("table", "1", "--all", "--json").json
    assert len(json.dumps(table).split("source_sha256=")) > 2  # two settings, not two seeds of one
    assert sorted(path.name for path in (here / "runs/prune").iterdir() if path.name[0] != ".") == sorted(
        {second["hash"], *(record["hash"] for record in swept["runs"])}
    )


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("x = 1\ndef f(:\n", "SyntaxError", 2),
        ("\nimport nowhere_at_all\n", "nowhere_at_all", 2),
        ("def f():\n    raise RuntimeError('odd')\nf()\n", "RuntimeError: odd", 2),
        ("raise SystemExit(0)\n", "SystemExit", 1),
        (SCORER.replace('"movement"', '"snip"'), "registered twice", 6),
        (SCORER.replace("@dataclass(frozen=True)", ""), "not a dataclass", 6),
        ("x = 1\n", "registers nothing", None),
        (SCORER.replace('"movement"', '"a/../b"'), "cannot be typed", None),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused_by_file_and_line(
    tmp_path: Path, text: str, said: str, line: int | None
) -> None:
    error = refused(plugins=(written(tmp_path / "mine.py", text),))
    assert said in error.what and error.exit_code == 2
    assert str(error.where).startswith(str(tmp_path / "mine.py"))
    assert line is None or str(error.where).endswith(f", line {line}")
    assert "movement" not in scorers.classes and "snip" in scorers.classes


@pytest.mark.parametrize(
    ("path", "said"), [("nowhere.py", "No such file"), ("mine.txt", "FILE.py"), ("folder.py", "directory")]
)
def test_a_path_that_is_no_python_file_is_refused(run: Run, here: Path, path: str, said: str) -> None:
    written(here / "mine.txt", SCORER)
    (here / "folder.py").mkdir()
    answer = run("ls", "--plugin", path)
    assert (answer.code, len(answer.lines)) == (2, 3)
    assert said in answer.lines[0] and f"--plugin {path}" in answer.lines[1]


def test_scores_of_another_shape_are_refused_before_anything_is_kept_or_trained(run: Run, here: Path) -> None:
    written(here / "movement.py", SCORER.replace("abs()", "abs()[:1]"))
    answer = run("prune", "scorer=movement", "model.weights=random", "recipe=smoke", "--plugin", "movement.py")
    assert (answer.code, len(answer.lines), answer.lines[-2]) == (1, 3, "where: blocks.0.attn.qkv.weight")
    assert "scores of shape (1, 128), where (384, 128) is wanted" in answer.lines[0]
    assert not [*here.glob("runs/score/*/*.safetensors"), *here.glob("runs/prune/*/metrics.csv")]


def test_a_class_without_yaml_is_a_choice_with_its_defaults(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py", SCORER)
    found = catalogue(Paths(plugins=(file, file)))
    assert found.options["scorer"]["movement"] == "The size of a weight, to a power."
    assert scorer_of(plugins=(file,)).power == 1.0
    assert scorer_of("scorer.power=3", plugins=(file,)).power == 3.0


def test_its_yaml_may_be_in_the_users_folder_but_not_in_both(tmp_path: Path) -> None:
    file, mine = written(tmp_path / "mine.py", SCORER), tmp_path / "mine"
    written(mine / "scorer/movement.yaml", "# Mine.\nname: movement\npower: 4\n")
    written(mine / "scorer/strong.yaml", "# Strong.\nname: movement\npower: 9\n")
    written(mine / "experiment/own.yaml", "# @package _global_\ndefaults: [override /scorer: strong]\n")
    paths = Paths(configs=mine, plugins=(file,))
    assert scorer_of(configs=mine, plugins=(file,)).power == 4.0
    assert settings_of(["experiment=own"], paths, "prune").scorer.power == 9.0
    assert catalogue(paths).origin("scorer", "movement") == f"--config-dir {mine}"
    written(tmp_path / "scorer/movement.yaml", "# Here too.\nname: movement\n")
    assert "--config-dir" in refused(configs=mine, plugins=(file,)).what


def test_an_experiment_may_choose_what_a_plug_in_brings(tmp_path: Path) -> None:
    file, mine = written(tmp_path / "mine.py", SCORER), tmp_path / "mine"
    written(mine / "experiment/own.yaml", "# @package _global_\ndefaults: [override /scorer: movement]\n")
    found = settings_of(["experiment=own"], Paths(configs=mine, plugins=(file,)), "prune")
    assert found.scorer.name == "movement"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: movement\npowre: 1\n", "did you mean power?"),
        ("name: movement\npower: x\n", "scorer.power"),
        ("- movement\n", "KEY: VALUE"),
        ("name: [\n", "does not compose"),
        ("name: movement\ndefaults: [/../../secret]\n", "lead out"),
        (
            "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: [*d, *d, *d, *d]\n",
            "unfolds",
        ),
    ],
)
def test_a_wrong_yaml_beside_the_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path / "mine.py", SCORER)
    written(tmp_path / "scorer/movement.yaml", text)
    with pytest.raises(ConfigError) as found:
        scorer_of(plugins=(file,))
    assert said in " ".join(found.value.lines())


def test_other_yaml_beside_the_file_is_not_ours_to_read(tmp_path: Path) -> None:
    written(tmp_path / "scorer/snip.yaml", "# Not ours.\nname: magnitude\n")
    written(tmp_path / "scorer/else.yaml", "nothing: [of ours\n")
    found = catalogue(Paths(plugins=(written(tmp_path / "mine.py", SCORER),)))
    assert "else" not in found.options["scorer"] and found.origin("scorer", "snip") == "prune-cli"


def test_a_config_of_a_class_that_nobody_registers_says_so(tmp_path: Path) -> None:
    written(tmp_path / "scorer/movement.yaml", "# Mine.\nname: movement\n")
    error = refused(configs=tmp_path)
    assert "neither prune-cli nor a plug-in" in error.what and "--plugin FILE.py" in str(error.hint)


def test_each_command_has_its_own_plug_ins_alone(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name / "mine.py", SCORER + f"# {name}\n") for name in ("a", "b"))
    before = type(scorer_of(plugins=(first,)))
    assert type(scorer_of(plugins=(second,))) is not before
    assert type(scorer_of(plugins=(first,))) is before
    assert "registered twice" in refused(plugins=(first, second)).what
    catalogue(Paths())
    assert "movement" not in scorers.classes


def test_an_installed_package_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "own_pruners/__init__.py", SCORER)
    written(tmp_path / "own_pruners/scorer/movement.yaml", "# Packaged.\nname: movement\npower: 5\n")
    info = tmp_path / "own_pruners-1.2.dist-info"
    written(info / "METADATA", "Metadata-Version: 2.1\nName: own-pruners\nVersion: 1.2\n")
    written(info / "entry_points.txt", f"[{plugins.GROUP}]\nown = own_pruners\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = scorer_of()
    source = hashlib.sha256((tmp_path / "own_pruners/__init__.py").read_bytes()).hexdigest()
    assert versioned_options(found) == {"name": "movement", "power": 5.0, "source_sha256": source}
    assert catalogue(Paths()).origin("scorer", "movement") == "own-pruners 1.2"
    written(info / "entry_points.txt", f"[{plugins.GROUP}]\nown = own_pruners.nothing\n")
    assert "own-pruners 1.2: own_pruners.nothing" in str(refused().where)


def test_a_model_and_a_dataset_count_with_their_file_too(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py", OTHERS)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    found = settings_of(["model=vit_own", "dataset=digits_own"], Paths(plugins=(file,)), "prune")
    for part, name in ((found.model, "vit_own"), (found.dataset, "digits_own")):
        assert versioned_options(part) == {"name": name, "source_sha256": digest}
    assert {"vit_own"} == models.classes.keys() - ours("model") and "digits_own" in datasets.classes


CONTROL = """
from dataclasses import dataclass
from prune_cli.masks.controls import Control, controls

@controls.register("upside_down")
@dataclass(frozen=True)
class UpsideDown(Control):
    "Keeps the lowest."

    def scores(self, scores):
        return {name: -score for name, score in scores.items()}
"""


def test_a_control_counts_with_its_file_beside_its_name(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py", CONTROL)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    settings = settings_of(["control=upside_down"], Paths(plugins=(file,)), "prune")
    identity = prune_identity(named_job(settings, "b" * 64, Weights("packaged", tmp_path, "a" * 64)))
    assert (identity["control"], identity["control_code"]) == (
        "upside_down",
        {"name": "upside_down", "source_sha256": digest},
    )
    check_plugins(identity, tmp_path)
    catalogue(Paths())
    with pytest.raises(RequestError, match="'upside_down' of this run is of a plug-in"):
        check_plugins(identity, tmp_path)


def test_a_run_without_plug_ins_needs_none(tmp_path: Path) -> None:
    check_plugins({"control": "shuffle", "removal": "recurrence", "scorer": {"name": "snip"}, "seed": 0}, tmp_path)


def ours(kind: str) -> set[str]:
    registry = Registry.all[kind]
    return {name for name, cls in registry.classes.items() if cls.__module__.startswith("prune_cli.")}


def test_no_part_of_the_package_counts_with_its_source() -> None:
    parts = [
        cls
        for registry in Registry.all.values()
        for cls in registry.classes.values()
        if cls.__module__.startswith("prune_cli.")
    ]
    assert parts and all(cls.source_sha256 is None for cls in parts)  # type: ignore[attr-defined]


def test_an_edited_text_is_never_answered_with_an_older_compiled_form(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py", SCORER)
    assert scorer_of(plugins=(file,)).power == 1.0
    written(file, SCORER.replace("1.0", "7.0"))  # as long as before, and within one second
    assert scorer_of(plugins=(file,)).power == 7.0
