"""The report's six models from end to end with random weights, on files in CIFAR's own format.

All for `make test-all`, but for the plans of memory, which need no weight, and what is shown on smaller models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cifar_files import write_cifar
from conftest import everything_in

from prune_cli import masks, pipeline, scorers
from prune_cli.config.schema import Point
from prune_cli.pipeline.batches import scoring_batches
from prune_cli.runs.paths import Paths
from prune_cli.scorers import scorers as registry

Run = Callable[..., object]
BIG = ("vit_b16", "vit_l16", "mixer_b16", "mixer_l16", "poolformer_m36", "poolformer_m48")
ROUNDS = {"synflow": 2, "force": 2}
OF_WEIGHTS = [name for name, cls in registry.classes.items() if "weights" in cls.scores]
CASES = [
    pytest.param("vit_b16", 32, id="vit_b16-32"),
    *(pytest.param(name, None, id=f"{name}-224") for name in BIG),
]


@pytest.fixture
def cifar(here: Path) -> Path:
    write_cifar(here / "cifar", classes=10, train=2, test=1)
    return here / "cifar"


def values(root: Path, size: int | None) -> dict[str, object]:
    return {
        "model.weights": "random",
        "model.image_size": size,
        "dataset.root": str(root),
        "dataset.verify": False,
        "scoring.batch_size": 2,
        "recipe.epochs": 1,
        "recipe.warmup_epochs": 0,
        "recipe.batch_size": 2,
        "recipe.train_batches": 2,
        "recipe.test_images": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_every_scorer_scores_it_and_finds_a_mask(name: str, size: int | None, cifar: Path, here: Path) -> None:
    choices = {"model": name, "dataset": "cifar10", "recipe": "paper"}
    settings = pipeline.composer(Paths()).settings(Point(choices, values(cifar, size)))
    job = pipeline.JobFactory(Paths(data=here)).job(settings)
    model, parameters = pipeline.build_model(job)
    batches = scoring_batches(job)
    total = sum(p.numel() for p in parameters.values())
    digests = set()
    for scorer in OF_WEIGHTS:
        built = scorers.build(scorer, **({"rounds": ROUNDS[scorer]} if scorer in ROUNDS else {}))
        mask = pipeline.find_mask(model, batches, parameters, built, sparsity=0.95)
        assert sum(int(keep.sum()) for keep in mask.values()) == total - round(0.95 * total), scorer
        digests.add(masks.digest(mask))
        del mask
    assert len(digests) == len(OF_WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_it_is_pruned_trained_evaluated_and_recorded(
    name: str, size: int | None, cifar: Path, run: Run, here: Path
) -> None:
    options = [f"{key}={'null' if value is None else value}" for key, value in values(cifar, size).items()]
    words = ("prune", f"model={name}", "dataset=cifar10", "recipe=paper", "sparsity=95", *options, "--json")
    try:
        record = run(*words).json  # type: ignore[attr-defined]
        assert record["kept"] == record["prunable"] - round(0.95 * record["prunable"])
        assert record["images"]["train"] == 20
        assert record["best_chosen_on"] == "test"
        assert 0 <= record["accuracy_last"] <= 100
        folder = here / "runs/prune" / record["hash"]
        again = run("evaluate", str(folder), "--json").json  # type: ignore[attr-defined]
        assert again["accuracy"] == record["accuracy_last"]
    finally:
        shutil.rmtree(here / "runs")  # a gigabyte each


@pytest.mark.parametrize("name", BIG)
def test_a_dry_run_plans_its_memory_without_a_weight(name: str, run: Run, here: Path) -> None:
    plan = run("prune", f"model={name}", "--dry-run", "--json").json  # type: ignore[attr-defined]
    size = plan["bytes"]
    assert size["weights"] == size["gradients"] == 4 * plan["parameters"]
    assert size["optimizer"] == 8 * plan["parameters"]  # Adam's two moments
    assert size["survivor_optimizer"] < 0.1 * size["optimizer"]
    assert size["survivor_gradients"] < 0.2 * size["gradients"]
    assert size["score_file"] == 4 * plan["prunable"]
    assert size["mask_file"] < 0.08 * plan["prunable"]
    dense = 4 * (plan["parameters"] - plan["prunable"])
    assert size["model_file"] == pytest.approx(dense + 4 * plan["kept"] + size["mask_file"], rel=1e-4)
    assert not everything_in(here)


def test_a_channels_last_run_finds_the_same_mask(cifar: Path, here: Path) -> None:
    """The layout of a kernel in memory is not the order that ties and files know."""
    found = []
    for last in (False, True):
        choices = {"model": "poolformer_micro", "dataset": "cifar10"}
        given = {"model.weights": "random", "dataset.root": str(cifar), "dataset.verify": False}
        settings = pipeline.composer(Paths()).settings(Point(choices, given | {"compute.channels_last": last}))
        job = pipeline.JobFactory(Paths(data=here)).job(settings)
        model, parameters = pipeline.build_model(job)
        kernel = parameters["stages.1.downsample.conv.weight"]
        assert kernel.is_contiguous(memory_format=torch.channels_last) == last
        mask = pipeline.find_mask(model, [], parameters, scorers.build("magnitude"), sparsity=0.95)
        masks.apply(parameters, mask)
        pipeline.train(job, model, mask, "")
        assert all(not bool(parameters[key].detach()[~keep].any()) for key, keep in mask.items())
        found.append(masks.digest(mask))
    assert found[0] == found[1]
