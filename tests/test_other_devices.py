"""Nothing that computes takes its tensors to be on the CPU: all of it on a stand-in for cuda and for mps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUICK, Answer, Undrawn
from other_device import KINDS, elsewhere
from tiny_lstm import SMALL, clips, tiny
from torch import Tensor, nn

from prune_cli import masks, scorers
from prune_cli.common.random import generator, seeded
from prune_cli.masks import controls
from prune_cli.masks.allocate import SCOPES
from prune_cli.pipeline.iterative import find_mask
from prune_cli.scorers import scorers as registry
from prune_cli.training.checkpoint import Checkpointer
from prune_cli.training.loop import Feed, fine_tune
from prune_cli.training.mixing import cut_and_mixed
from prune_cli.training.recipe import Recipe
from prune_cli.units.removal import units

Run = Callable[..., Answer]
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory'")  # of the stand-in, which has no such memory


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    with elsewhere(request.param) as found:
        yield found


def test_the_stand_in_refuses_numpy(device: torch.device) -> None:
    there = torch.ones(3).to(device)
    assert there.device.type == device.type
    for read in (Tensor.numpy, np.asarray, np.packbits):
        with pytest.raises(TypeError, match="numpy"):
            read(there[1:])
    assert there.cpu().numpy().tolist() == there.tolist() == [1.0] * 3
    assert there.sum().item() == 3.0


def test_the_stand_in_refuses_two_places(device: torch.device) -> None:
    there, here = torch.ones(3, device=device), torch.ones(3)
    for mixed in (
        lambda: there + here,
        lambda: here[there > 0],
        lambda: torch.cat([here, there]),
        lambda: here.add_(there),
    ):
        with pytest.raises((RuntimeError, IndexError)):
            mixed()
    assert (there * torch.tensor(2.0)).device == there[torch.tensor([0])].device == there.device
    assert here.copy_(there * 2).tolist() == [2.0] * 3 and here.device.type == "cpu"
    assert (there.cpu() + here).device.type == "cpu"


def test_the_stand_in_refuses_draws_from_the_cpus_generator(device: torch.device) -> None:
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, generator=torch.Generator(), device=device)
    with pytest.raises(RuntimeError, match="generator"):
        torch.ones(3, device=device).normal_(generator=torch.Generator())


def test_the_stand_in_for_mps_refuses_float64() -> None:
    with elsewhere("mps") as mps:
        for make in (
            lambda: torch.ones(1, device=mps).double(),
            lambda: torch.ones(1, device=mps, dtype=torch.float64),
        ):
            with pytest.raises(TypeError, match="float64"):
                make()
    with elsewhere("cuda") as cuda:
        assert torch.ones(1, device=cuda).double().dtype == torch.float64


def test_a_model_there_has_its_gradients_there(device: torch.device) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).to(device)
    model(torch.ones(1, 2, device=device)).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == 4 and all(g.device.type == device.type for g in gradients)
    with pytest.raises(RuntimeError):
        model(torch.ones(1, 2))


WEIGHT_SCORERS = [name for name, cls in registry.classes.items() if "weights" in cls.scores]
UNIT_SCORERS = [name for name, cls in registry.classes.items() if "units" in cls.scores]
VARIANTS = [(name, {}) for name in UNIT_SCORERS] + [
    ("transfer_entropy", {"source": "output", "binning": "quantile", "surrogates": 3}),
    ("mutual_information", {"miller_madow": True, "surrogates": 3}),
]


def network() -> nn.Module:
    """Convolution, attention's matrices and everything that behaves otherwise in train mode."""
    with seeded(0, "network"):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)
        )  # fmt: skip


def batch(samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    draw = generator(0, "batch")
    x, y = torch.randn(samples, 1, 6, 6, generator=draw), torch.randint(3, (samples,), generator=draw)
    return x.to(device), y.to(device)


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{n}.weight": m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


@pytest.mark.parametrize("name", WEIGHT_SCORERS)
def test_scores_of_weights(name: str, device: torch.device) -> None:
    found, wanted = {}, {}
    for scores, place in ((found, device), (wanted, CPU)):
        model = network().to(place)
        scores |= scorers.build(name)(model, [batch(6, place), batch(3, place)], prunable(model))
    for key in wanted:
        torch.testing.assert_close(found[key].cpu(), wanted[key])


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_scores_of_units(name: str, options: dict, device: torch.device) -> None:
    found, wanted = {}, {}
    for scores, place in ((found, device), (wanted, CPU)):
        model, (x, y) = tiny(units=4).float().to(place), clips(8)
        scores |= scorers.build(name, **options)(model, [(x.float().to(place), y.to(place))], units(model))
    torch.testing.assert_close(found["lstm"].cpu(), wanted["lstm"])


CHOICES = [{"scope": scope} for scope in SCOPES] + [{"min_kept_per_tensor": 9}, {"pattern": "2:4"}]


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_masks(options: dict, device: torch.device) -> None:
    scores = {str(n): torch.rand(16, n, generator=generator(0, "scores", n)).round(decimals=2) for n in (8, 12, 4)}
    found = masks.select({name: score.to(device) for name, score in scores.items()}, 0.5, **options)
    assert {keep.device.type for keep in found.values()} == {device.type}
    assert masks.digest(found) == masks.digest(masks.select(scores, 0.5, **options))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("name", ["snip", "synflow", "force"])
def test_masks_in_rounds(name: str, inverted: bool, device: torch.device) -> None:
    options = {"rounds": 3} if name != "snip" else {}
    found = []
    for place in (device, CPU):
        model = network().to(place)
        given = (model, [batch(6, place)], prunable(model), scorers.build(name, **options))
        found.append(find_mask(*given, sparsity=0.8, control=controls.build("inverted") if inverted else None))
    assert masks.digest(found[0]) == masks.digest(found[1])


@pytest.mark.parametrize("kind", controls.names())
def test_controls(kind: str, device: torch.device) -> None:
    found = []
    for place in (device, CPU):
        weights = prunable(network().to(place))
        mask = masks.select({name: p.detach().abs() for name, p in weights.items()}, 0.5)
        found.append(controls.build(kind).mask(mask, weights, seed=0))
    assert masks.digest(found[0]) == masks.digest(found[1])


class Cut(BaseException):
    """What kill -9 does, as far as the files can tell."""


RECIPES = [
    Recipe(epochs=2, lr=0.01, warmup_epochs=1),
    Recipe(epochs=2, lr=0.01, warmup_epochs=1, optimizer="sgd", momentum=0.9, clip_norm=0.1, accumulation=2, ema_decay=0.9),
    Recipe(epochs=2, lr=0.01, warmup_epochs=1, optimizer="nadam", cutmix_alpha=1.0, label_smoothing=0.1),
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_training_over_survivors_cut_off_and_gone_on_with(recipe: Recipe, device: torch.device, tmp_path: Path) -> None:
    def trained(
        place: torch.device, checkpointer: Checkpointer | None = None, cut: int = -1
    ) -> tuple[nn.Module, list[dict]]:
        def train(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
            batches = [batch(6, place)] * 3
            mixed = cut_and_mixed(batches, 1.0, 1.0, 3, 0, epoch) if recipe.cutmix_alpha else batches
            for step, one in list(enumerate(mixed))[first:]:
                if 3 * epoch + step == cut:
                    raise Cut
                yield one

        model = network()
        mask = masks.select({name: p.detach().abs() for name, p in prunable(model).items()}, 0.5)
        masks.apply(prunable(model.to(place)), mask)
        fed = Feed(train, 3, {"test": lambda: [batch(9, place)]})
        with seeded(0, "train"):
            return model, fine_tune(model, mask, recipe, fed, "fp32", "t", checkpointer)

    with pytest.raises(Cut):
        trained(device, Checkpointer(tmp_path, 1), cut=4)
    model, rows = trained(device, Checkpointer(tmp_path, 1))
    alone, wanted = trained(CPU)
    assert {t.device.type for t in model.state_dict().values()} == {device.type}
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name].cpu(), value)
    assert [row["test_accuracy"] for row in rows] == [row["test_accuracy"] for row in wanted]


def typed(run: Run, *words: str) -> dict:
    answer = run(*words, "--json")
    assert answer.code == 0, answer.err
    return answer.json


@pytest.fixture
def chosen(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device, also for commands that are typed."""
    monkeypatch.setattr("prune_cli.common.device.choose_device", lambda _: device)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "stand-in")
    return device


def options_of(name: str) -> list[str]:
    """Fewer rounds than the method's own, where it has some."""
    return [f"scorer={name}", *(["scorer.rounds=2"] if registry.classes[name]().rounds > 1 else [])]


# on mps each scorer is tested above, and a run over units below
CUDA = pytest.mark.parametrize("device", ["cuda", pytest.param("mps", marks=pytest.mark.slow)], indirect=True)


@CUDA
@pytest.mark.parametrize("name", WEIGHT_SCORERS)
@pytest.mark.usefixtures("chosen")
def test_a_scoring_run_of_weights(name: str, run: Run) -> None:
    few = ("scoring.batch_size=2",) if registry.classes[name].sees_data else ()
    assert typed(run, "score", *options_of(name), *few)["images"]


@CUDA
@pytest.mark.parametrize("name", UNIT_SCORERS)
@pytest.mark.usefixtures("chosen")
def test_a_scoring_run_of_units(name: str, run: Run) -> None:
    assert typed(run, "score", *SMALL, f"scorer={name}", "removal=recurrence")["images"]


@CUDA
@pytest.mark.parametrize("words", [("scorer=snip_magnitude",), ("scorer=synflow", "scorer.rounds=2", "control=reinit")])
def test_a_run_over_weights(words: tuple[str, ...], run: Run, chosen: torch.device) -> None:
    record = typed(run, "prune", *QUICK, *words, "compute.checkpoint_steps=1")
    assert record["device"] == ("stand-in" if chosen.type == "cuda" else "mps")
    assert typed(run, "evaluate", record["hash"])["accuracy"] == record["accuracy_last"]


@pytest.mark.usefixtures("chosen")
def test_a_run_over_units(run: Run) -> None:
    record = typed(run, "prune", *SMALL, "sparsity=50", "scorer=weight_norm", "control=inverted", "recipe.epochs=1")
    assert typed(run, "evaluate", record["hash"])["accuracy"] == record["accuracy_last"]
    assert typed(run, "shrink", record["hash"])["units"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ablate", "dynamics"])
@pytest.mark.usefixtures("chosen")
def test_units_taken_apart(command: str, run: Run, undrawn: Undrawn, monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn()
    monkeypatch.setattr("prune_cli.analysis.ablation.FRACTIONS", (0.0, 0.5))
    monkeypatch.setattr("prune_cli.analysis.exponents.STEPS", 40)
    monkeypatch.setattr("prune_cli.analysis.exponents.WARM_UP", 1)
    measures = ",".join(name for name, cls in registry.classes.items() if cls.measures_units)
    assert typed(run, command, *SMALL, "recipe=smoke", f"scorer={measures}")


@CUDA
@pytest.mark.usefixtures("chosen")
def test_weights_before_and_after_training(run: Run, undrawn: Undrawn) -> None:
    undrawn()
    assert typed(run, "drift", *QUICK, "model.weights=packaged")
