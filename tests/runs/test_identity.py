"""What a run is called: everything that changes its numbers, and nothing else. The golden names must never change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from named_jobs import named_job

from prune_cli import pipeline
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.overrides import single
from prune_cli.models.sources import Weights
from prune_cli.pipeline.job import prune_identity, score_identity, train_identity
from prune_cli.runs.files import write_tensors
from prune_cli.runs.identity import changed_options, run_hash
from prune_cli.runs.paths import Paths
from prune_cli.runs.store import RunFolder
from prune_cli.training.recipe import Recipe

WEIGHTS, DATA = "a" * 64, "b" * 64
IDENTITIES = {"prune": prune_identity, "score": score_identity, "train": train_identity}
COMPOSER = pipeline.composer(Paths())


def job(*words: str, weights: str = WEIGHTS, data: str = DATA) -> pipeline.Job:
    """A job with made-up digests."""
    settings = COMPOSER.settings(single(words, Catalogue(), "prune"))
    return named_job(settings, data, Weights("packaged", Path("x"), weights))


def name(kind: str, *words: str, **digests: str) -> str:
    """What the run of this kind is called."""
    return RunFolder.of(Path(), kind, IDENTITIES[kind](job(*words, **digests))).path.name


def test_the_identity_of_the_default_run_in_full() -> None:
    shared: dict[str, Any] = {
        "model": {"name": "vit_micro", "weights": WEIGHTS},
        "dataset": {"name": "mnist5k", "digest": DATA},
        "compute": {},
        "seed": 0,
    }
    scores = shared | {"scorer": {"name": "snip_magnitude"}, "scoring": {}}
    recipe = {"epochs": 10, "min_lr": 1e-05, "warmup_epochs": 1, "warmup_lr": 0.0001}
    assert score_identity(job()) == scores
    assert prune_identity(job()) == scores | {"recipe": recipe, "sparsity": {"percent": 98.0}}
    assert train_identity(job()) == shared | {"recipe": recipe}


GOLDEN = {
    "prune": ((), "93fb3a0e0e5a"),
    "score": ((), "a86e43c86d8e"),
    "train": (("recipe=pretrain", "dataset=fashion_mnist", "dataset.validation=0"), "324e80c45b28"),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_names(kind: str) -> None:
    words, golden = GOLDEN[kind]
    assert name(kind, *words) == golden


def test_the_golden_name_of_a_hash() -> None:
    material = {"b": [1, 0.1, None, True], "a": "α"}
    assert run_hash(material) == run_hash(dict(reversed(material.items()))) == "62f9d6a2eee3"


def test_a_number_that_json_cannot_write_has_no_name() -> None:
    with pytest.raises(ValueError):
        run_hash({"alpha": float("nan")})


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize(
    "words",
    [
        ("compute.workers=2",),
        ("compute.threads=7",),
        ("compute.device=cpu",),
        ("model.weights=elsewhere/same.safetensors",),
        ("scorer.alpha=1e-3",),
        ("scorer.alpha=0.001", "recipe.lr=1e-3", "recipe.weight_decay=0", "scoring.batches=1", "seed=0"),
        ("experiment=demo",),
    ],
)
def test_what_changes_no_number_changes_no_name(kind: str, words: tuple[str, ...]) -> None:
    assert name(kind, *words) == name(kind)


@pytest.mark.parametrize("kind", IDENTITIES)
def test_the_folder_of_the_data_does_not_count(kind: str) -> None:
    assert name(kind, "dataset=fashion_mnist", "dataset.root=/elsewhere") == name(kind, "dataset=fashion_mnist")


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize(
    "words",
    [
        ("seed=1",),
        ("model=timm", "model.arch=vit_tiny_patch16_224"),
        ("model.prunable=['blocks.*']",),
        ("dataset=fashion_mnist",),
        ("compute.precision=fp64",),
    ],
)
def test_what_changes_every_number_changes_every_name(kind: str, words: tuple[str, ...]) -> None:
    assert name(kind, *words) != name(kind)


@pytest.mark.parametrize("kind", IDENTITIES)
def test_weights_and_data_count_by_their_digests(kind: str) -> None:
    names = {name(kind), name(kind, weights="c" * 64), name(kind, data="c" * 64)}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("word", "changed"),
    [
        ("scorer.alpha=0.1", {"prune", "score"}),
        ("scorer=snip", {"prune", "score"}),
        ("scoring.batches=2", {"prune", "score"}),
        ("scoring.batch_size=64", {"prune", "score"}),
        ("sparsity=97.9", {"prune"}),
        ("sparsity.scope=uniform", {"prune"}),
        ("sparsity.min_kept_per_tensor=1", {"prune"}),
        ("recipe.epochs=11", {"prune", "train"}),
        ("recipe.lr=0.002", {"prune", "train"}),
        ("recipe.horizontal_flip=true", {"prune", "train"}),
        ("recipe=smoke", {"prune", "train"}),
        ("compute.precision=bf16", {"prune", "train"}),  # scores are measured without autocast
        ("compute.sparse=on", {"prune"}),  # the only run that removes weights before it trains
        ("compute.sparse=auto", {"prune"}),
        ("compute.sparse=off", set()),
    ],
)
def test_an_option_counts_where_it_changes_a_number(word: str, changed: set[str]) -> None:
    assert {kind for kind in IDENTITIES if name(kind, word) != name(kind)} == changed


@pytest.mark.parametrize("scorer", ["magnitude", "random", "synflow"])
@pytest.mark.parametrize("kind", ["prune", "score"])
def test_the_scoring_data_do_not_count_where_the_scorer_sees_none(kind: str, scorer: str) -> None:
    wanted = name(kind, f"scorer={scorer}")
    assert name(kind, f"scorer={scorer}", "scoring.batches=4", "scoring.batch_size=7") == wanted
    assert name(kind, f"scorer={scorer}", "seed=1", "scoring.batches=4") != wanted


@pytest.mark.parametrize("kind", ["prune", "train"])
def test_without_an_epoch_no_other_option_of_training_counts(kind: str) -> None:
    untrained = name(kind, "recipe=none")
    assert name(kind, "recipe.epochs=0") == name(kind, "recipe=paper", "recipe.epochs=0") == untrained
    assert name(kind, "recipe=none", "recipe.lr=0.5", "recipe.batch_size=7", "recipe.train_batches=3") == untrained
    others = {name(kind, "recipe=none", word) for word in ("recipe.test_images=9", "recipe.smoke=true", "seed=1")}
    assert len(others | {untrained}) == 4
    assert name(kind, "recipe=none", "compute.precision=bf16") != untrained  # which the evaluation is computed in


@pytest.mark.parametrize("kind", ["prune", "train"])
def test_how_often_is_mixed_counts_where_there_is_mixing(kind: str) -> None:
    assert name(kind, "recipe.cutmix_prob=0.5") == name(kind)
    mixed = "recipe.cutmix_alpha=1"
    assert name(kind, mixed, "recipe.cutmix_prob=0.5") != name(kind, mixed)


@pytest.mark.parametrize("kind", ["prune", "train"])
def test_the_rate_of_the_warm_up_counts_where_there_is_one(kind: str) -> None:
    none = "recipe.warmup_epochs=0"
    assert name(kind, none, "recipe.warmup_lr=0.5") == name(kind, none, "recipe.warmup_lr=0") == name(kind, none)
    assert name(kind, "recipe.warmup_lr=0.5") != name(kind)


MOBILE = ("model=timm", "model.arch=mobilenetv3_large_100")
TAGGED = ("model=timm", "model.arch=mobilenetv3_large_100.miil_in21k")  # other mean and std than the default tag


@pytest.mark.parametrize(
    ("words", "golden"),
    [
        (MOBILE, "6926bece4623"),
        (TAGGED, "83459d59247d"),
        ((*MOBILE, "model.image_size=160"), "b62f5d24a78d"),
        (("model=timm", "model.arch=vit_tiny_patch16_224", "model.weights=hub:augreg_in21k"), "1c4cd5fc65bc"),
        (("model=vit_b16", "model.weights=hub:augreg_in1k"), "7d936b825762"),
        (("recipe=none",), "6f816af4075b"),
        (("scorer=random",), "40afaab3cf12"),
        (("scorer=synflow",), "e800e06b6eb0"),
    ],
    ids=str,
)
def test_golden_names_of_what_has_several_ways_to_be_said(words: tuple[str, ...], golden: str) -> None:
    assert name("prune", *words) == golden


@pytest.mark.parametrize("kind", IDENTITIES)
def test_what_the_model_is_fed_counts(kind: str) -> None:
    """One file of weights: `hub:TAG` sets mean, std and size with it, the file alone leaves those of the architecture."""
    file = name(kind, *MOBILE, "model.weights=w.safetensors")
    assert name(kind, *MOBILE, "model.weights=hub:miil_in21k") != file
    assert name(kind, *MOBILE, "model.weights=hub:ra_in1k") == file  # the default tag
    sizes = ("model=timm", "model.arch=convnext_tiny")
    larger = name(kind, *sizes, "model.weights=hub:fb_in22k_ft_in1k_384")
    assert larger != name(kind, *sizes, "model.weights=w.safetensors")
    assert name(kind, *sizes, "model.weights=hub:fb_in22k_ft_in1k_384", "model.image_size=384") == larger


@pytest.mark.parametrize("kind", IDENTITIES)
def test_a_tag_is_told_in_three_ways_for_one_run(kind: str) -> None:
    of_hub = name(kind, *MOBILE, "model.weights=hub:miil_in21k")
    assert name(kind, *TAGGED) == name(kind, *TAGGED, "model.weights=w.safetensors") == of_hub


def test_the_pretrained_size_is_the_same_typed_or_not() -> None:
    assert name("prune", *MOBILE, "model.image_size=224") == name("prune", *MOBILE)
    assert name("prune", "model=vit_b16", "model.image_size=224") == name("prune", "model=vit_b16")


def test_the_random_mask_counts_by_its_seed_only_where_it_is_used() -> None:
    assert prune_identity(job("scorer=random", "seed=3"))["scorer"] == {"name": "random", "seed": 3}
    assert "seed" not in prune_identity(job("scorer=snip", "seed=3"))["scorer"]


@pytest.mark.parametrize("scorer", ["transfer_entropy", "mutual_information"])
def test_a_scorer_whose_default_means_other_numbers_now_counts_by_its_version(scorer: str) -> None:
    """Version 1 had source=label; its runs must not be taken for those of the new default."""
    video = ("model=lstm128", f"scorer={scorer}")
    assert score_identity(job(*video))["scorer"] == {"name": scorer, "version": 2}
    assert score_identity(job(*video, "scorer.source=label"))["scorer"] == {
        "name": scorer,
        "source": "label",
        "version": 2,
    }
    assert "version" not in score_identity(job())["scorer"]


def test_a_dense_run_knows_no_scorer_and_two_ways_to_ask_for_it_are_one() -> None:
    assert "scorer" not in prune_identity(job("sparsity=dense"))
    assert name("prune", "sparsity=dense") == name("prune", "sparsity=0", "scorer=grasp", "scoring.batches=3")


def test_a_custom_percent_equal_to_an_option_is_the_same_run() -> None:
    assert name("prune", "sparsity=custom", "sparsity.percent=98") == name("prune", "sparsity=98")
    assert name("prune", "sparsity=98.0000001") != name("prune", "sparsity=98")


def test_a_given_mask_counts_by_its_content_alone(tmp_path: Path) -> None:
    keep = {"blocks.0.mlp.fc1.weight": torch.tensor([[True, False], [True, True]])}
    write_tensors(tmp_path / "a.safetensors", keep)
    write_tensors(tmp_path / "b.safetensors", keep)
    write_tensors(tmp_path / "c.safetensors", {key: ~tensor for key, tensor in keep.items()})
    a, b, c = (name("prune", f"mask='{tmp_path / file}.safetensors'") for file in "abc")
    assert a == b != c
    assert a == name("prune", f"mask='{tmp_path}/a.safetensors'", "scorer=grasp", "sparsity=90")


def test_a_new_option_left_at_its_default_renames_no_old_run() -> None:
    newer = dataclasses.make_dataclass("Newer", [("ema", float, 0.0)], bases=(Recipe,), frozen=True)
    newest = dataclasses.make_dataclass(
        "Newest", [("tags", list, dataclasses.field(default_factory=list))], bases=(newer,), frozen=True
    )
    old = changed_options(Recipe(epochs=10, lr=0.1))
    assert old == {"epochs": 10, "lr": 0.1}
    assert changed_options(newer(epochs=10, lr=0.1)) == old
    assert changed_options(newest(epochs=10, lr=0.1)) == old
    assert changed_options(newest(epochs=10, lr=0.1, ema=0.9, tags=["x"])) == old | {"ema": 0.9, "tags": ["x"]}


def test_an_option_without_a_default_always_counts() -> None:
    assert changed_options(Recipe(epochs=1)) == {"epochs": 1}


def test_sparse_layers_are_in_a_name_as_they_are_typed_and_only_where_something_is_removed() -> None:
    words = [("compute.sparse=on",), ("compute.sparse=auto",), ()]
    assert len({name("prune", *typed) for typed in words}) == 3
    assert len({name("prune", "sparsity=dense", *typed) for typed in words}) == 1
