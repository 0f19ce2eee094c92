"""Options that change no number: typed for one run they are refused, in a sweep they make no second run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK, Answer, everything_in
from tiny_lstm import SMALL, SMALL_CLIPS

from prune_cli.common.errors import RequestError
from prune_cli.execution.trained_models import trained_models
from prune_cli.runs.paths import Paths

Run = Callable[..., Answer]
SMOKE = ("model.weights=random", "recipe=smoke")
TE = "scorer=transfer_entropy"
NO_DATA, UNTRAINED = "looks at no data", "nothing is trained with recipe.epochs=0"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("prune", "scorer=magnitude", "scoring.batches=4"), NO_DATA),
        (("prune", "scorer=random", "scoring.batch_size=64"), NO_DATA),
        (("score", "scorer=synflow", "scoring.micro_batch=8"), NO_DATA),
        (("score", *SMALL, "scorer=weight_norm", "scoring.batches=4"), NO_DATA),
        (("dynamics", *SMALL, "scorer=weight_norm", "scoring.batches=4"), NO_DATA),
        (("sweep", "scorer=magnitude,random", "scoring.batches=1,4"), NO_DATA),
        (("prune", "recipe=none", "recipe.lr=0.1"), UNTRAINED),
        (("prune", "recipe.epochs=0", "recipe.ema_decay=0.9"), UNTRAINED),
        (("prune", *SMALL, TE, "recipe.lr=0.1"), UNTRAINED),  # units are removed without fine-tuning unless a recipe is typed
        (("train", "recipe.epochs=0", "recipe.lr=0.1"), UNTRAINED),
        (("drift", "recipe.epochs=0", "recipe.lr=0.1"), UNTRAINED),
        (("sweep", "recipe=none", "recipe.lr=0.1,0.01"), UNTRAINED),
        (("prune", "recipe.cutmix_prob=0.5"), "no batch is mixed"),
        (("prune", "recipe.warmup_epochs=0", "recipe.warmup_lr=0.1"), "there is no warm-up"),
        (("prune", "sparsity=dense", "scorer.alpha=3"), "nothing is scored, since nothing is removed"),
        (("prune", "sparsity=dense", "scoring.batches=4"), "nothing is scored, since nothing is removed"),
        (("prune", *SMALL, TE, "sparsity=50", "scorer.surrogate_kind=shift"), "no surrogate is drawn"),
    ],
    ids=str,
)  # fmt: skip
def test_a_word_that_changes_nothing_is_refused(run: Run, here: Path, words: tuple[str, ...], reason: str) -> None:
    answer = run(*words)
    assert answer.code == 2, answer.err
    typed = words[-1].partition("=")[0]
    assert answer.lines[0].startswith(f"error: {typed} changes nothing: ") and reason in answer.lines[0]
    assert answer.lines[1:] == [f"where: {typed}", f"try: leave {typed} out"]
    assert everything_in(here) == set()


def test_a_default_may_be_typed_where_it_changes_nothing(run: Run) -> None:
    words = ("scorer=random", "scoring.batch_size=128", "recipe.epochs=0", "recipe.cutmix_prob=1", "recipe.lr=1e-3")
    plan = run("prune", *SMOKE, *words, "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert (
        plan.json["run"] == run("prune", *SMOKE, "scorer=random", "recipe.epochs=0", "--dry-run", "--json").json["run"]
    )


@pytest.mark.parametrize(
    ("words", "points"),
    [
        (("scorer=snip_magnitude,random", "scoring.batches=1,4"), 3),
        (("scorer=snip_magnitude,magnitude,synflow", "scoring.batch_size=64,128"), 4),
        (("scorer=random", "recipe.epochs=0,1", "recipe.warmup_epochs=0", "recipe.lr=0.1,0.01"), 3),
        (("scorer=random", "recipe.cutmix_alpha=0,1", "recipe.cutmix_prob=0.5,1"), 3),
        (("scorer=random", "recipe.warmup_epochs=0,1", "recipe.epochs=2", "recipe.warmup_lr=0.1"), 2),
        (
            (
                *SMALL_CLIPS,
                "model=lstm128",
                TE,
                "sparsity=50",
                "scorer.surrogates=0,9",
                "scorer.surrogate_kind=clips,shift",
            ),
            3,
        ),
    ],
    ids=str,
)
def test_in_a_sweep_it_makes_no_second_run(run: Run, words: tuple[str, ...], points: int) -> None:
    answer = run("sweep", *SMOKE, *words, "--dry-run", "--json")
    assert answer.code == 0, answer.err
    assert len(answer.json["points"]) == points


@pytest.mark.usefixtures("in_process")
def test_random_pruning_beside_two_amounts_of_scoring_data_is_one_run_of_table_1(run: Run) -> None:
    found = run(
        "sweep", "model.weights=random", *QUICK, "scorer=snip_magnitude,random", "scoring.batches=1,4", "--json"
    ).json
    seen = {(run["method"], (run["scoring"] or {})["images"]) for run in found["runs"]}
    assert seen == {("snip_magnitude", 128), ("snip_magnitude", 512), ("random", 128)}
    assert len(found["runs"]) == 3
    assert "n=" not in "".join(map(str, found["table1"]["rows"]))


def test_what_the_training_before_the_measuring_uses_is_no_such_word(here: Path, built_data: Path) -> None:  # noqa: ARG001
    """Units are removed without fine-tuning; the model that they belong to is trained first."""
    (subject,) = trained_models([*SMALL, TE, "recipe.lr=0.1"], Paths(data=built_data))
    assert subject.scratch is not None
    assert subject.scratch.recipe.lr == 0.1
    with pytest.raises(RequestError, match=r"recipe\.lr changes nothing"):
        trained_models([*SMALL_CLIPS, "model=lstm128", TE, "recipe.lr=0.1"], Paths(data=built_data))


@pytest.mark.parametrize("tag", ["", "model.weights=hub:miil_in21k"])
def test_the_reference_from_scratch_sees_the_images_of_its_point(run: Run, tag: str) -> None:
    words = ("model=timm", "model.arch=mobilenetv3_large_100", *filter(None, [tag]), "recipe=smoke", "scorer=magnitude")
    named = run("sweep", *words, "--references", "--dry-run", "--json").json["points"]
    alone = ("model=timm", f"model.arch=mobilenetv3_large_100{'.miil_in21k' if tag else ''}", "model.weights=random")
    scratch = run("prune", *alone, "recipe=smoke", "sparsity=dense", "--dry-run", "--json").json["run"]
    assert scratch.rpartition("/")[2] == named[-1]["run"]
