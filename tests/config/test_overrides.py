"""What a person may type, and what it means."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from prune_cli.common.errors import ConfigError
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import axis, parse, single
from prune_cli.config.schema import Point

OURS = Catalogue()


def typed(*words: str, catalogue: Catalogue = OURS) -> Point:
    return single(words, catalogue, "prune")


def swept(word: str) -> list[Point]:
    fixed, axes = parse([word], OURS)
    assert fixed == Point()
    (points,) = axes.values()
    return points


def refused(*words: str, catalogue: Catalogue = OURS) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(words, catalogue)
    lines = caught.value.lines()
    assert len(lines) <= 3
    return "\n".join(lines)


@pytest.mark.parametrize("word", ["98", "98.0", "9.8e1", "'98'", '"98"', "'98.0'"])
def test_a_number_that_has_a_file_is_that_option(word: str) -> None:
    assert typed(f"sparsity={word}") == Point({"sparsity": "98"})


@pytest.mark.parametrize(
    ("word", "percent"), [("97.3", 97.3), ("97", 97.0), ("'97.3'", 97.3), ("98.0000001", 98.0000001), ("1", 1.0)]
)
def test_a_number_without_a_file_is_custom_and_keeps_all_its_digits(word: str, percent: float) -> None:
    assert typed(f"sparsity={word}") == Point({"sparsity": "custom"}, {"sparsity.percent": percent})


@pytest.mark.parametrize("word", ["0.98", "'0.98'", "0.98,98", "90,0.98", "range(0.98,0.99,0.01)"])
def test_a_share_is_no_percentage(word: str) -> None:
    said = refused(f"sparsity={word}")
    assert "did you mean sparsity=98? For 0.98 % type sparsity.percent=0.98" in said


def test_less_than_a_percent_is_typed_by_its_name() -> None:
    assert typed("sparsity=custom", "sparsity.percent=0.5") == Point({"sparsity": "custom"}, {"sparsity.percent": 0.5})
    assert typed("sparsity=0") == Point({"sparsity": "custom"}, {"sparsity.percent": 0.0})
    with pytest.raises(ConfigError, match="looks like a share"):
        axis("sparsity", [0.9, 0.95], OURS)  # an experiment's grid


def test_custom_can_be_typed_in_two_words() -> None:
    assert typed("sparsity=custom", "sparsity.percent=97.3") == typed("sparsity=97.3")


def test_an_option_with_a_name_is_a_choice_and_a_dotted_key_a_value() -> None:
    assert typed("sparsity=dense", "scorer=snip_magnitude", "scorer.alpha=0.1", "seed=7") == Point(
        {"sparsity": "dense", "scorer": "snip_magnitude"}, {"scorer.alpha": 0.1, "seed": 7}
    )


def test_no_experiment_can_be_asked_for() -> None:
    assert typed("experiment=null") == Point()


def test_quotes_keep_a_value_with_odd_characters_whole() -> None:
    assert typed("mask='a b, c=d.safetensors'").values == {"mask": "a b, c=d.safetensors"}


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("90,95,98", ["90", "95", "98"]),
        ("choice(90,95)", ["90", "95"]),
        ("choice(90)", ["90"]),
        ("90,dense", ["90", "dense"]),
        ("'90','95'", ["90", "95"]),
        ("range(90,100,5)", ["90", "95"]),
        ("glob(9*)", ["90", "95", "98"]),
        ("glob(9*,exclude='95')", ["90", "98"]),
    ],
)
def test_sparsities_can_be_swept_in_every_way_of_hydra(word: str, names: list[str]) -> None:
    assert swept(f"sparsity={word}") == [Point({"sparsity": name}) for name in names]


def test_a_range_of_sparsities_mixes_files_and_numbers() -> None:
    points = swept("sparsity=range(90,99)")
    files = {0: "90", 5: "95", 8: "98"}
    assert points == [
        Point({"sparsity": files[step]})
        if step in files
        else Point({"sparsity": "custom"}, {"sparsity.percent": 90.0 + step})
        for step in range(9)
    ]


def test_a_list_of_sparsities_mixes_files_and_numbers() -> None:
    assert swept("sparsity=90,97.3") == [
        Point({"sparsity": "90"}),
        Point({"sparsity": "custom"}, {"sparsity.percent": 97.3}),
    ]


def test_a_glob_names_the_options_of_a_group() -> None:
    assert swept("scorer=glob(*magnitude)") == [Point({"scorer": name}) for name in ("magnitude", "snip_magnitude")]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=0,1", [0, 1]),
        ("seed=range(2,5)", [2, 3, 4]),
        ("scorer.alpha=1e-3,0.1", [1e-3, 0.1]),
        ("compute.device=cpu,'cuda'", ["cpu", "cuda"]),
        ("model.prunable=['a.*'],['b.*','c.*']", [["a.*"], ["b.*", "c.*"]]),
    ],
)
def test_values_can_be_swept(word: str, values: list) -> None:
    assert swept(word) == [Point(values={word.split("=")[0]: value}) for value in values]


def test_axes_and_what_is_fixed_are_kept_apart() -> None:
    fixed, axes = parse(["model=vit_micro", "scorer=snip,grasp", "seed=0,1", "recipe.epochs=3"], OURS)
    assert fixed == Point({"model": "vit_micro"}, {"recipe.epochs": 3})
    assert list(axes) == ["scorer", "seed"]


def test_a_command_that_makes_one_run_refuses_a_sweep() -> None:
    with pytest.raises(ConfigError, match="one value for scorer") as caught:
        single(["scorer=snip,grasp"], OURS, "prune")
    assert caught.value.hint == "prune-cli sweep scorer=snip,grasp"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("scorer=snap", "snip"),
        ("scorer=snip_magnitud", "snip_magnitude"),
        ("model=vit_mikro", "vit_micro"),
        ("dataset=mnist", "mnist5k"),
        ("recipe=smok", "smoke"),
        ("experiment=dem", "demo"),
        ("scorer=snip,snap", "snip"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_name(word: str, near: str) -> None:
    group = word.partition("=")[0]
    assert f"did you mean {group}={near}?" in refused(word)


@pytest.mark.parametrize(
    "word",
    [
        "model=../sparsity/90",
        "model='../sparsity/90'",
        "model=sparsity/90",
        "model=/etc/passwd",
        "scorer=snip.yaml",
        "scorer=''",
        "scorer=",
        "scorer=null",
        "sparsity=null",
        "sparsity=true",
        "sparsity=[98]",
        "scorer={name: snip}",
    ],
)
def test_only_listed_options_reach_hydra(word: str) -> None:
    assert "there is no" in refused(word)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("scorrer=snip", "scorer=snip"),
        ("sede=1", "seed=1"),
        ("sede=1,2", "seed=1,2"),
        ("recipes.epochs=1", "recipe.epochs=1"),
    ],
)
def test_an_unknown_top_level_key_is_answered_with_the_nearest_name(word: str, near: str) -> None:
    assert f"did you mean {near}?" in refused(word)


def test_the_name_of_a_part_is_no_option() -> None:
    assert "prune-cli ls scorer" in refused("scorer.name=grasp")
    with pytest.raises(ConfigError, match="cannot be changed"):
        axis("model.name", ["timm"], OURS)


@pytest.mark.parametrize("word", ["hydra.run.dir=x", "hydra.searchpath=['file:///tmp']", "hydra.mode=MULTIRUN"])
def test_hydras_own_settings_are_refused(word: str) -> None:
    assert "Hydra's own settings" in refused(word)


@pytest.mark.parametrize("word", ["seed=${oc.env:HOME}", "mask='${seed}'", "scorer.alpha=${seed},1", "mask=\\${seed}"])
def test_interpolations_are_refused(word: str) -> None:
    assert "interpolations" in refused(word)


@pytest.mark.parametrize("word", ["+scorer.alpha=1", "++seed=1", "~scorer", "~seed=1", "scorer@other=snip"])
def test_only_plain_changes_are_understood(word: str) -> None:
    assert "only KEY=VALUE is understood" in refused(word)


@pytest.mark.parametrize("word", ["scorer", "", "seed 1", "a=b=c", "mask=(", "scorer.alpha[0]=1"])
def test_what_is_not_key_and_value_is_refused(word: str) -> None:
    assert "not KEY=VALUE" in refused(word)


@pytest.mark.parametrize("word", ["mask=my (old) mask.safetensors", "dataset.root=a,b=c", "mask=("])
def test_a_word_that_lost_its_quotes_to_the_shell_comes_back_with_both_pairs(word: str) -> None:
    pasted = shlex.split(refused(word).rpartition("try: ")[2].partition(", in both")[0])
    assert [typed(again).values for again in pasted] == [dict([word.split("=", 1)])]


@pytest.mark.parametrize(
    "words",
    [
        ("seed=1", "seed=2"),
        ("scorer=snip", "scorer=snip"),
        ("seed=0,1", "seed=2"),
        ("sparsity=97.3", "sparsity.percent=50"),
        ("sparsity.percent=50", "sparsity=97.3"),
        ("sparsity=90,97.3", "sparsity.percent=50"),
    ],
)
def test_what_is_given_twice_is_refused(words: tuple[str, ...]) -> None:
    assert "is given twice" in refused(*words)


def test_a_choice_and_a_value_inside_it_are_not_twice_the_same() -> None:
    assert typed("sparsity=98", "sparsity.scope=uniform").choices == {"sparsity": "98"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=range(5,5)", "empty"),
        ("seed=interval(0,1)", "interval"),
        ("scorer=glob(nothing*)", "no option"),
        ("scorer.alpha=glob(*)", "no option"),
    ],
)
def test_a_sweep_without_values_is_refused(word: str, said: str) -> None:
    assert said in refused(word)


def test_a_users_option_and_a_users_number_are_known(tmp_path: Path) -> None:
    for group, name in (("scorer", "strong"), ("sparsity", "97.3")):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text("# Mine.\n")
    catalogue = Catalogue(tmp_path)
    assert typed("scorer=strong", "sparsity=97.3", catalogue=catalogue) == Point(
        {"scorer": "strong", "sparsity": "97.3"}
    )
    assert catalogue.options["scorer"]["strong"] == "Mine."
    assert "did you mean scorer=strong?" in refused("scorer=stron", catalogue=catalogue)


def test_a_users_folder_must_be_there_and_must_not_take_a_name_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Catalogue(tmp_path / "nowhere")
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer/snip.yaml").write_text("# Not the same.\nname: magnitude\n")
    assert "another name" in refused("scorer=snip", catalogue=Catalogue(tmp_path))
