"""From points to settings: complete, typed, and the same as Hydra's own compose would give."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra import initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, SCMode

from prune_cli import pipeline
from prune_cli.common.errors import ConfigError
from prune_cli.config import compose
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.compose import Composer
from prune_cli.config.overrides import axis, single
from prune_cli.config.schema import GROUPS, SWEEPABLE, Point, Scoring, Settings
from prune_cli.data.registry import datasets
from prune_cli.masks.allocate import Sparsity
from prune_cli.masks.controls import ControlChoice
from prune_cli.models.registry import models
from prune_cli.runs.paths import Paths
from prune_cli.scorers import scorers
from prune_cli.targets import Removal
from prune_cli.training.recipe import Recipe

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*/*.yaml"))
NEEDED = {  # what an option does not say by itself
    ("model", "timm"): {"model.arch": "vit_tiny_patch16_224", "model.weights": "random"},
    ("sparsity", "custom"): {"sparsity.percent": 97.3},
}


def composer(folder: Path | None = None) -> Composer:
    return pipeline.composer(Paths(configs=folder))


OURS = composer()  # composes each option once for all tests of this file


def composed(*words: str, folder: Path | None = None) -> Settings:
    made = composer(folder) if folder else OURS
    return made.settings(single(words, Catalogue(folder), "prune"))


def refused(*words: str, folder: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        composed(*words, folder=folder)
    lines = caught.value.lines()
    assert len(lines) <= 3
    return "\n".join(lines)


def users(folder: Path, group: str, name: str, text: str) -> Path:
    """A user's own option."""
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(text)
    return folder


def part_of(group: str, plain: dict[str, Any]) -> type:
    """The dataclass behind one group of a composed config."""
    by_name = {"model": models, "dataset": datasets, "scorer": scorers}
    if group in by_name:
        return by_name[group].classes[plain[group]["name"]]
    alone = {"sparsity": Sparsity, "removal": Removal, "control": ControlChoice, "recipe": Recipe}
    return (alone | {"compute": pipeline.job.Compute})[group]


def typed_by(part: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options as OmegaConf converts them to the types of a dataclass; defaults where nothing is said."""
    schema = OmegaConf.structured(part)
    OmegaConf.set_readonly(schema, False)
    merged = OmegaConf.merge(schema, options)
    return OmegaConf.to_container(merged, structured_config_mode=SCMode.DICT)  # type: ignore[return-value]


OF_UNITS = {"transfer_entropy", "mutual_information", "activation_variance", "weight_norm"}


def removes_units(point: Point) -> bool:
    """By the words alone: units, or a scorer of nothing else, or random scores of an LSTM; and more than none of them."""
    chosen = {"scorer": "snip_magnitude", "model": "vit_micro", "removal": "auto", "sparsity": "98"} | point.choices
    of_units = chosen["scorer"] in OF_UNITS or (chosen["scorer"], chosen["model"]) == ("random", "lstm128")
    removed = point.values.get("sparsity.percent", 0 if chosen["sparsity"] == "dense" else 98) > 0
    return removed and (chosen["removal"] in ("recurrence", "readout") or (chosen["removal"] == "auto" and of_units))


def hydras_own(point: Point) -> dict[str, Any]:
    """The plain config of a point, composed by Hydra in one go and typed afterwards."""
    implied = {} if "experiment" in point.choices or not removes_units(point) else {"recipe": "none"}
    words = [f"{group}='{option}'" for group, option in (implied | point.choices).items()]
    values = [f"++{key}={value}" for key, value in point.values.items()]
    with initialize_config_module("prune_cli.configs", version_base="1.3"):
        plain = OmegaConf.to_container(hydra.compose("config", overrides=words + values), resolve=True)
    assert isinstance(plain, dict)
    found = {}
    for group in SWEEPABLE:
        name = {"name": plain[group].pop("name")} if "name" in plain[group] else {}
        found[group] = name | typed_by(part_of(group, {group: name}), plain[group])
    return found | {"seed": plain["seed"], "mask": plain["mask"], "scoring": typed_by(Scoring, plain["scoring"])}


def test_nothing_typed_is_the_reports_method_on_real_digits() -> None:
    found = composed()
    assert (found.model.name, found.dataset.name, found.scorer.name) == ("vit_micro", "mnist5k", "snip_magnitude")
    assert found.sparsity == Sparsity(98.0)
    assert found.recipe.epochs == 10
    assert (found.scorer.alpha, found.scoring, found.seed, found.mask) == (1e-3, Scoring(None, 128), 0, None)


def test_settings_are_complete_and_typed() -> None:
    found = composed("recipe=smoke", "scorer.alpha=1", "sparsity=97")
    for group in SWEEPABLE:
        options = {key: value for key, value in found.plain[group].items() if key != "name"}
        assert options == dataclasses.asdict(getattr(found, group))
    assert type(found.scorer.alpha) is float
    assert type(found.sparsity.percent) is float
    assert found.recipe.weight_decay == 0.0
    assert type(found.model.prunable) is list


def test_a_value_beats_the_option_and_an_interpolation_sees_it() -> None:
    assert composed("sparsity=98", "sparsity.percent=50").sparsity.percent == 50.0
    found = composed("scorer=random", "seed=7")
    assert (found.seed, found.scorer.seed, found.plain["scorer"]["seed"]) == (7, 7, 7)
    assert composed("scorer=random", "seed=7", "scorer.seed=1").scorer.seed == 1


def test_a_value_of_one_point_does_not_stay_for_the_next() -> None:
    assert composed("scorer.alpha=5", "recipe.epochs=2").scorer.alpha == 5.0
    found = composed()
    assert (found.scorer.alpha, found.recipe.epochs) == (1e-3, 10)


@pytest.mark.parametrize(
    ("words", "warmup"),
    [
        (("recipe.epochs=1",), 0),
        (("recipe.epochs=2",), 1),
        (("recipe=paper", "recipe.epochs=4"), 3),
        (("recipe.epochs=0",), 1),  # nothing is trained, nothing warmed up
        (("recipe.epochs=3", "recipe.warmup_epochs=2"), 2),
    ],
)
def test_typed_epochs_cut_the_recipes_warm_up_short(words: tuple[str, ...], warmup: int) -> None:
    found = composed(*words)
    assert (found.recipe.warmup_epochs, found.plain["recipe"]["warmup_epochs"]) == (warmup, warmup)


def test_a_typed_warm_up_is_not_cut_short() -> None:
    said = refused("recipe.epochs=1", "recipe.warmup_epochs=1")
    assert "leaves none" in said and "recipe.warmup_epochs=0" in said


def test_settings_can_be_made_again_from_what_config_yaml_shows() -> None:
    found = composed("scorer=grasp", "scorer.temperature=200", "seed=3")
    assert OURS.from_plain(yaml.safe_load(OmegaConf.to_yaml(OmegaConf.create(found.plain)))) == found


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("scorer.alfa=1",), "alpha"),
        (("recipe.epoch=3",), "epochs"),
        (("scoring.batch=3",), "batches"),
        (("scorer=grasp", "scorer.temprature=3"), "temperature"),
    ],
)
def test_an_unknown_key_inside_a_group_is_answered_with_the_nearest_name(words: tuple[str, ...], near: str) -> None:
    said = refused(*words)
    assert words[-1].split("=")[0] in said
    key, _, value = words[-1].partition("=")
    assert f"did you mean {key.partition('.')[0]}.{near}={value}?" in said


@pytest.mark.parametrize("word", ["scorer.alpha=1", "dataset.validation=0.1", "model.arch=vit_tiny_patch16_224"])
def test_an_option_of_another_part_is_unknown(word: str) -> None:
    assert "there is no option" in refused("scorer=snip", word)


@pytest.mark.parametrize(
    "word",
    [
        "scorer.alpha=x",
        "scorer.alpha=true",
        "scorer.alpha=[1]",
        "scorer.alpha={a: 1}",
        "scorer.alpha.more=1",
        "seed=1.5",
        "seed=x",
        "seed=null",
        "seed.more=1",
        "recipe.epochs=null",
        "recipe.epochs=2.5",
        "recipe.smoke=maybe",
        "compute.threads=many",
        "model.prunable=blocks",
        "model.weights=null",
        "mask.more=1",
        "scoring=5",
        "scoring=null",
        "scoring.batches=some",
    ],
)
def test_a_wrong_type_is_refused_by_the_name_of_its_option(word: str) -> None:
    assert word.split("=")[0].removesuffix(".more") in refused(word)


@pytest.mark.parametrize(
    ("word", "missing"), [("model=timm", "model.arch=VALUE"), ("sparsity=custom", "sparsity.percent=VALUE")]
)
def test_a_missing_value_is_asked_for(word: str, missing: str) -> None:
    assert missing in refused(word)


@pytest.mark.parametrize(
    "word",
    [
        "sparsity=120",
        "sparsity=100",
        "sparsity=-1",
        "sparsity=nan",
        "sparsity=inf",
        "sparsity.percent=100",
        "sparsity.scope=globe",
        "sparsity.min_kept_per_tensor=-1",
        "scorer.alpha=-1",
        "scorer.alpha=-1e-9",
        "scorer.alpha=nan",
        "scorer.alpha=inf",
        "scoring.batches=0",
        "scoring.batch_size=0",
        "recipe.epochs=-1",
        "recipe.batch_size=0",
        "recipe.lr=-1",
        "recipe.lr=nan",
        "recipe.lr=inf",
        "recipe.min_lr=-1",
        "recipe.warmup_lr=-1",
        "recipe.warmup_epochs=-1",
        "recipe.warmup_epochs=10",
        "recipe.weight_decay=-1",
        "recipe.momentum=-1",
        "recipe.label_smoothing=1",
        "recipe.label_smoothing=-0.1",
        "recipe.clip_norm=-1",
        "recipe.train_batches=0",
        "recipe.test_images=0",
        "recipe.optimizer=lbfgs",
        "recipe.optimizer=adamm",
        "compute.device=gpu",
        "compute.precision=fp16",
        "compute.threads=0",
        "compute.workers=-1",
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_option(word: str) -> None:
    assert word.split("=")[0].rpartition(".")[2] in refused(word)


@pytest.mark.parametrize("word", ["scorer.temperature=0", "scorer.temperature=-1", "scorer.temperature=nan"])
def test_a_temperature_lies_above_0(word: str) -> None:
    assert "temperature" in refused("scorer=grasp", word)


@pytest.mark.parametrize("share", ["-0.1", "1", "nan"])
def test_a_validation_share_lies_in_0_to_1(share: str) -> None:
    assert "dataset.validation" in refused("dataset=fashion_mnist", f"dataset.validation={share}")


def test_a_users_folder_adds_an_option(tmp_path: Path) -> None:
    folder = users(tmp_path / "it's mine", "scorer", "strong", "# Strong.\nname: snip_magnitude\nalpha: 0.5\n")
    assert composed("scorer=strong", folder=folder).plain["scorer"] == {"name": "snip_magnitude", "alpha": 0.5}
    assert composed("scorer=strong", "scorer.alpha=2", folder=folder).scorer.alpha == 2.0
    assert composed("scorer=snip", folder=folder).scorer.name == "snip"


def test_a_users_option_may_build_on_another_one(tmp_path: Path) -> None:
    folder = users(tmp_path, "recipe", "long", "# Long.\ndefaults: [micro]\nepochs: 30\n")
    found = composed("recipe=long", folder=folder).recipe
    assert (found.epochs, found.warmup_lr) == (30, 1e-4)


def test_a_users_option_that_has_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    folder = users(tmp_path, "scorer", "snip", "# Not the same.\nname: magnitude\n")
    assert "another name" in refused("scorer=snip", folder=folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: snip_magnitude\nalfa: 1\n", "did you mean alpha?"),
        ("name: snip_magnitude\nalpha: x\n", "scorer.alpha"),
        ("name: snip_magnitude\nalpha: -1\n", "alpha"),
        ("name: snip_magnitude\nalpha: ${nothing}\n", "scorer.alpha"),
        ("name: snip_magnitud\n", "did you mean snip_magnitude?"),
        ("alpha: 1\n", "known: activation_variance, fisher"),
        ("", "known: activation_variance, fisher"),
        ("- a\n- b\n", "KEY: VALUE"),
        ("name: [\n", "mine.yaml"),
        ("_target_: os.system\nname: snip\n", "_target_"),
    ],
)
def test_a_wrong_file_of_a_users_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused("scorer=mine", folder=users(tmp_path, "scorer", "mine", text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# @package _global_\nsede: 3\n", "did you mean seed?"),
        ("# @package _global_\nscorer: {alfa: 3}\n", "did you mean alpha?"),
        ("# @package _global_\ndefaults: [override /scorer: snap]\n", "snap"),
        ("# @package _global_\nsweep: 3\n", "sweep"),
        ("sweep: {scorer: [snip]}\n", "@package _global_"),
    ],
)
def test_a_wrong_experiment_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused("experiment=mine", folder=users(tmp_path, "experiment", "mine", text))


def test_an_experiments_options_stand_below_what_is_typed(tmp_path: Path) -> None:
    text = (
        "# @package _global_\ndefaults: [override /scorer: grasp, override /recipe: smoke]\n"
        "scorer: {temperature: 200}\nseed: 5\nsweep: {seed: [1, 2], scorer.temperature: 1}\n"
    )
    folder = users(tmp_path, "experiment", "mine", text)
    found = composed("experiment=mine", "recipe.epochs=2", folder=folder)
    assert (found.scorer.temperature, found.seed, found.recipe.smoke, found.recipe.epochs) == (200.0, 5, True, 2)
    assert composed("experiment=mine", "seed=6", "sparsity=90", folder=folder).plain["seed"] == 6
    chosen = composed("experiment=mine", "scorer=grasp", "recipe=micro", folder=folder)  # its values still stand above
    assert (chosen.scorer.temperature, chosen.recipe.epochs) == (200.0, 10)
    assert composer(folder).grid(Point({"experiment": "mine"})) == {"seed": [1, 2], "scorer.temperature": [1]}
    assert composer(folder).grid(Point()) == {}


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.stem}" for file in FILES])
def test_every_option_composes_into_valid_settings(file: Path) -> None:
    group, option = file.parent.name, file.stem
    point = Point({group: option}, NEEDED.get((group, option), {}))
    found = OURS.settings(point)
    assert isinstance(found.seed, int)
    for key, values in OURS.grid(point).items():
        for one in axis(key, values, Catalogue()):
            OURS.settings(point | one)


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.stem}" for file in FILES])
def test_every_file_begins_with_a_comment_and_names_known_options_only(file: Path) -> None:
    text = file.read_text()
    first = next(line for line in text.splitlines() if "@package" not in line)
    assert first.startswith("# ")
    assert Catalogue().options[file.parent.name][file.stem] == first.removeprefix("# ")
    keys = set(yaml.safe_load(text))
    if file.parent.name == "experiment":
        assert keys <= {"defaults", "sweep", "seed", "mask", "scoring", *SWEEPABLE}
    else:
        part = part_of(file.parent.name, {file.parent.name: yaml.safe_load(text)})
        assert keys - {"name", "defaults"} <= {field.name for field in dataclasses.fields(part)}


def test_every_folder_of_configs_is_a_group_and_every_group_a_folder() -> None:
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders == set(GROUPS)
    assert (CONFIGS / "config.yaml").read_text().startswith("# ")


OPTIONS = {group: sorted(set(Catalogue().options[group])) for group in GROUPS}
VALUES = {
    "seed": st.integers(0, 2**31),
    "scoring.batches": st.integers(1, 9),
    "recipe.epochs": st.integers(11, 50),  # more than the longest warm-up of the recipes
    "recipe.lr": st.floats(0, 1),
    "recipe.weight_decay": st.integers(0, 1),  # an integer where a float is wanted
    "sparsity.percent": st.floats(0, 99),
    "compute.precision": st.sampled_from(["fp32", "bf16"]),
}
OF_ONE_SCORER = {
    "snip_magnitude": ("scorer.alpha", st.floats(0, 10)),
    "grasp": ("scorer.temperature", st.integers(1, 200)),
    "random": ("scorer.seed", st.integers(0, 9)),
}


@st.composite
def points(draw: st.DrawFn) -> Point:
    """A valid point: some groups chosen, some values given."""
    chosen = draw(st.sets(st.sampled_from(GROUPS)))
    choices = {group: draw(st.sampled_from(OPTIONS[group])) for group in GROUPS if group in chosen}
    needed = {key: value for choice in choices.items() for key, value in NEEDED.get(choice, {}).items()}
    some = draw(st.sets(st.sampled_from(sorted(VALUES))))
    values = {key: draw(VALUES[key]) for key in sorted(some)}
    if choices.get("scorer") in OF_ONE_SCORER and draw(st.booleans()):
        key, strategy = OF_ONE_SCORER[choices["scorer"]]
        values[key] = draw(strategy)
    return Point(choices, needed | values)


@pytest.mark.parametrize("examples", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_merging_options_equals_hydras_own_compose(examples: int) -> None:
    @settings(max_examples=examples)
    @given(points())
    def check(point: Point) -> None:
        assert OURS.settings(point).plain == hydras_own(point)

    check()


@pytest.mark.parametrize("experiment", OPTIONS["experiment"])
def test_merging_into_an_experiment_equals_hydras_own_compose(experiment: str) -> None:
    point = Point({"experiment": experiment, "scorer": "random", "recipe": "smoke", "sparsity": "90"}, {"seed": 3})
    assert OURS.settings(point).plain == hydras_own(point)


def test_hundreds_of_points_compose_each_distinct_option_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def counted(name: str, overrides: list[str]) -> Any:
        calls.append(tuple(overrides))
        return hydra.compose(name, overrides=overrides)

    monkeypatch.setattr(compose, "hydra_compose", counted)
    made = pipeline.job.composer(Paths())  # one that no other test has used
    grid = [
        Point({"scorer": scorer, "sparsity": sparsity}, {"seed": seed, "recipe.epochs": 20 + seed})
        for scorer in ("snip_magnitude", "magnitude", "snip", "grasp", "random")
        for sparsity in ("90", "95", "98")
        for seed in range(20)
    ]
    plain = [made.settings(point).plain for point in grid]
    options = {f"{group}='{option}'" for point in grid for group, option in point.choices.items()}
    assert sorted(calls) == [(), *((option,) for option in sorted(options))]
    assert len(options) == 8
    assert len({str(one) for one in plain}) == len(grid) == 300
    assert plain[-1] == hydras_own(grid[-1])


def test_a_value_taken_by_way_of_another_part_is_not_an_older_points(tmp_path: Path) -> None:
    """Points of one sweep share what has been made of their parts, but not where values are taken from others."""
    for path, text in {
        "scorer/taking.yaml": "# x\nname: snip_magnitude\nalpha: ${recipe.min_lr}\n",
        "recipe/taking.yaml": "# x\nepochs: 1\nmin_lr: ${sparsity.percent}\n",
        "scorer/relative.yaml": "# x\nname: snip_magnitude\nalpha: ${..recipe.min_lr}\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    made = composer(tmp_path)
    for scorer in ("taking", "relative"):
        for percent in (0.1, 0.2, 0.1):
            point = Point({"scorer": scorer, "recipe": "taking", "sparsity": "custom"}, {"sparsity.percent": percent})
            assert made.settings(point).scorer.alpha == percent == composer(tmp_path).settings(point).scorer.alpha
