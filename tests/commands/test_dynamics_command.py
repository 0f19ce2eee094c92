"""`prune-cli dynamics`: as typed, and each of its numbers found again in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Answer, Undrawn, everything_in
from safetensors.torch import load_file, save_file
from scipy import stats
from tiny_lstm import SMALL, SMALL_CLIPS
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from prune_cli import masks, pipeline
from prune_cli.analysis import ablation, exponents
from prune_cli.commands import dynamics as command
from prune_cli.execution.request import job_of
from prune_cli.execution.trained_models import trained_models
from prune_cli.models.networks.clip_classifier import ClipClassifier
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import ScoreRecord
from prune_cli.runs.store import read_record
from prune_cli.training.evaluate import evaluate
from prune_cli.units.lyapunov import local_exponents, lstm_step, lyapunov
from prune_cli.units.removal import gate_inputs, shrink, weight_mask

Run = Callable[..., Answer]
COLUMNS = [
    *("dataset", "model", "seed", "measure", "keep", "draw", "fraction", "removed"),
    *("clips", "ftle", "ftle_std", "ftle_low", "ftle_high", "ftle_2", "ftle_3", "ftle_4", "long_clips"),
    *(f"lyapunov_frozen{part}" for part in ("", "_std", "_low", "_high", "_first", "_second")),
    *(f"frozen_{fate}" for fate in ("fixed", "periodic", "drifting", "chaotic")),
    *(f"lyapunov_looped{part}" for part in ("", "_std", "_low", "_high", "_first", "_second")),
    *(f"looped_{fate}" for fate in ("fixed", "periodic", "drifting", "chaotic")),
    "accuracy",
]
UNITS, FRAMES = 6, 4
CLIPS, LONG_CLIPS, WARM_UP, STEPS = 5, 3, 2, 9  # fewer clips than the test split has; two loops and a frame too many
LOOPS = 8  # frames that count
FRACTIONS = (0.0, 0.5, 0.9)
MEASURES = ("weight_norm", "activation_variance")
ORDERS = [*((measure, keep) for measure in MEASURES for keep in ("low", "high")), ("random", "")]
SEEN = ("dynamics", "model=lstm128", f"model.units={UNITS}", *SMALL_CLIPS)


@pytest.fixture(autouse=True, scope="module")
def a_few() -> Iterator[None]:
    """Short trajectories, and few shares removed."""
    few = {"CLIPS": CLIPS, "LONG_CLIPS": LONG_CLIPS, "WARM_UP": WARM_UP, "STEPS": STEPS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(exponents, name, value)
        patch.setattr(ablation, "FRACTIONS", FRACTIONS)
        yield


def loud() -> ClipClassifier:
    """A model in which units hear each other, so that it matters where a removed one falls silent."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ClipClassifier(8, UNITS)
        nn.init.normal_(model.lstm.weight_hh_l0, std=3)
        nn.init.normal_(model.head.weight, std=3)
    return model


@dataclass(frozen=True)
class Made:
    """What one `dynamics` has left: the test clips and their labels, the scores of each order, and the model's file."""

    paths: Paths
    table: pd.DataFrame
    clips: tuple[Tensor, Tensor]
    scores: dict[str, Tensor]
    file: Path

    def model(self) -> ClipClassifier:
        """The model that was measured, anew."""
        model = ClipClassifier(8, UNITS)
        model.load_state_dict(load_file(self.file))
        return model.eval()

    def keep(self, row: Any) -> dict[str, Tensor]:
        """The units that stay in a row of the table: all but the `removed` ones that its order removes first."""
        keep = torch.ones(UNITS, dtype=torch.bool)
        keep[self.scores[row.measure if row.keep != "high" else f"-{row.measure}"].argsort()[: row.removed]] = False
        return {"lstm": keep}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, built_data: Path) -> Made:
    folder = tmp_path_factory.mktemp("dynamics")
    paths, file = Paths(folder / "runs", folder / "results", built_data), folder / "loud.safetensors"
    save_file(loud().state_dict(), file)
    words = (*SEEN[1:], f"model.weights={file}", f"scorer={','.join(MEASURES)}")
    command.dynamics(trained_models(words, paths), paths)
    job = job_of([*SMALL, "sparsity=dense"], paths, "prune")
    (x, y), *_ = pipeline.evaluation_batches(job, "test")
    ((_, _, _, drawn),) = ablation.orders({}, UNITS, 0, 1)
    scores = {"random": drawn}
    for path in (paths.runs / "score").glob("*/manifest.json"):
        record = read_record(path.parent, ScoreRecord)
        assert record is not None
        units = pd.read_csv(path.parent / "units.csv")  # as they were measured
        values, name = torch.tensor(units.value.to_numpy()), record.scorer
        scores |= {name: -values, f"-{name}": values}
    table = pd.read_csv(paths.results / "dynamics.csv", keep_default_na=False)
    return Made(paths, table, (x, y), scores, file)


def test_a_row_an_order_and_a_share(made: Made) -> None:
    table = made.table
    assert everything_in(made.paths.results) == {"dynamics.csv", "dynamics.png"}
    assert list(table.columns) == COLUMNS
    assert set(map(tuple, table[["dataset", "model", "seed", "draw"]].to_numpy())) == {
        ("action_mnist", "lstm128", 0, 0)
    }
    expected = [(*order, fraction) for order in ORDERS for fraction in FRACTIONS]
    assert list(zip(table.measure, table.keep, table.fraction, strict=True)) == expected
    assert list(table.removed) == [0, 3, 5] * len(ORDERS)
    assert table.filter(regex="^(frozen|looped)_").stack().between(0, 1).all()
    assert (table.clips == CLIPS).all()
    assert (table.long_clips == LONG_CLIPS).all()
    assert table.accuracy.between(0, 100).all()


def test_the_picture_is_one(made: Made) -> None:
    picture = (made.paths.results / "dynamics.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 20_000


def test_nothing_removed_is_the_same_in_all_orders(made: Made) -> None:
    numbers = made.table.groupby("fraction")[COLUMNS[8:]].nunique(dropna=False)
    assert (numbers.loc[0.0] == 1).all()
    assert (
        numbers.loc[0.5, ["ftle", "lyapunov_frozen", "lyapunov_looped"]] > 1
    ).all()  # which units are removed matters


def over(values: Tensor) -> list[float]:
    """Mean, standard deviation and the ends of Student's 95 % interval: what four columns hold."""
    mean, deviation = float(values.mean()), float(values.std())
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    return [mean, deviation, mean - half, mean + half]


def test_along_clips_it_is_the_largest_singular_value_of_the_whole_jacobian(made: Made) -> None:
    """By hand: the first test clips through the smaller model of torch's own, all frames at once. One tangent drawn at
    random, as was measured once, is told apart.
    """
    for row in made.table[made.table.measure == "weight_norm"].itertuples():
        small, units = shrink(made.model(), made.keep(row)).double(), UNITS - row.removed
        x = small.features(made.clips[0][:CLIPS].double())

        def last(state: Tensor, clip: int, lstm: nn.LSTM = small.lstm, x: Tensor = x) -> Tensor:
            h, c = lstm(x[[clip]], tuple(part[None, None] for part in state.chunk(2)))[1]
            return torch.cat([h, c], 2).flatten()

        rest = torch.zeros(2 * units, dtype=torch.float64)
        whole = [jacobian(lambda state, clip=clip: last(state, clip), rest) for clip in range(CLIPS)]
        expected = torch.linalg.svdvals(torch.stack(whole)).log() / FRAMES
        assert [row.ftle, row.ftle_std, row.ftle_low, row.ftle_high] == pytest.approx(over(expected[:, 0]), rel=1e-6)
        assert row.ftle_2 == pytest.approx(float(expected[:, 1].mean()), rel=1e-6)
        assert (row.ftle_4 == "") == (units == 1)  # its state has two numbers
        tangent = lyapunov(lstm_step(small.lstm, gate_inputs(small.lstm, x)), rest.expand(CLIPS, -1), FRAMES)
        assert row.ftle > float(tangent.mean()) + 0.01


def long_run(made: Made, row: Any, warmup: int = WARM_UP, frame: int | None = None) -> Tensor:
    """Growth at each counted frame of the long clips, looped where no frame is frozen."""
    small = shrink(made.model(), made.keep(row)).double()
    x = small.features(made.clips[0][:LONG_CLIPS].double())
    x = x.repeat(1, 4, 1) if frame is None else x[:, [frame]].expand(-1, 4 * FRAMES, -1)
    rest = torch.zeros(LONG_CLIPS, 2 * (UNITS - row.removed), dtype=torch.float64)
    return local_exponents(lstm_step(small.lstm, gate_inputs(small.lstm, x)), rest, LOOPS, warmup=warmup)[..., 0]


def test_in_the_long_run_it_is_that_of_the_shrunk_lstm(made: Made) -> None:
    """By hand: the last frame again and again, and the clip again and again, as one long clip."""
    for row in made.table[made.table.measure != "activation_variance"].to_dict("records"):
        for name, frame in {"frozen": -1, "looped": None}.items():
            local = long_run(made, SimpleNamespace(**row), frame=frame)
            found = [row[f"lyapunov_{name}{part}"] for part in ("", "_std", "_low", "_high")]
            assert found == pytest.approx(over(local.mean(1)), rel=1e-9)
            halves = [float(half.mean()) for half in local.chunk(2, 1)]
            assert [row[f"lyapunov_{name}_{part}"] for part in ("first", "second")] == pytest.approx(halves, rel=1e-9)


def test_the_frozen_input_is_the_last_frame_and_the_warm_up_does_not_count(made: Made) -> None:
    """Mutants: the first frame frozen, or the warm-up counted."""
    dense = next(made.table.itertuples())
    for mutant in ({"frame": 0}, {"frame": -1, "warmup": 0}, {"frame": None}):
        assert abs(dense.lyapunov_frozen - float(long_run(made, dense, **mutant).mean())) > 1e-6, mutant


def course(step: Callable[[int], float], growth: Callable[[int], float], trajectories: int = 4) -> exponents.LongRun:
    """Trajectories of one number, 40 times long, with the growth of each time."""
    states, local = (torch.tensor([make(time) for time in range(40)]).double() for make in (step, growth))
    return exponents.LongRun(local.expand(trajectories, -1), states[None, :, None].expand(trajectories, -1, -1))


def wandering(time: int) -> float:
    return time * 0.618034 % 1


@pytest.mark.parametrize(
    ("step", "growth", "fate"),
    [
        (lambda time: 0.5, lambda time: -0.2, "fixed"),  # noqa: ARG005
        (lambda time: time % 3, lambda time: -0.2, "periodic"),  # noqa: ARG005
        (lambda time: time, lambda time: 0.2 + 0.01 * wandering(time), "drifting"),
        (wandering, lambda time: 0.2 + 0.01 * wandering(time), "chaotic"),
        (wandering, lambda time: 0.02 * (-1) ** (time // 4) + 0.001, None),  # above 0 within its error
        (wandering, lambda time: -0.2 + 0.01 * wandering(time), None),
    ],
)
def test_the_fate_of_trajectories(step: Callable[..., float], growth: Callable[..., float], fate: str | None) -> None:
    """Evidence of chaos: bounded, never where it was, and growing, more surely than by chance."""
    row = course(step, growth).row("looped")
    shares = {name: row[f"looped_{name}"] for name in ("fixed", "periodic", "drifting", "chaotic")}
    assert shares == {name: float(name == fate) for name in shares}


def test_the_accuracy_is_that_of_the_masked_model(made: Made) -> None:
    """A mutant whose removed units fall silent to the classifier alone is told apart."""

    def accuracy(row: Any, placement: str) -> float:
        model = made.model()
        zeroed = weight_mask(model, made.keep(row), placement)
        masks.apply({name: model.get_parameter(name) for name in zeroed}, zeroed)
        return evaluate(model, [made.clips]).accuracy

    rows = list(made.table.itertuples())
    found = [row.accuracy for row in rows]
    assert found == pytest.approx([accuracy(row, "recurrence") for row in rows])
    assert found != pytest.approx([accuracy(row, "readout") for row in rows])


def test_what_is_typed_is_printed_and_is_json(run: Run, here: Path, made: Made, undrawn: Undrawn) -> None:
    """Trained weights are measured as they are."""
    words = (*SEEN, f"model.weights={made.file}", "scorer=weight_norm")
    answer = run(*words)
    assert answer.code == 0, answer.err
    assert everything_in(here / "results") == {"dynamics.csv", "dynamics.png"}
    assert not (here / "runs/train").exists()
    undrawn()
    assert all(word in answer.out for word in ("FTLE", "λ frozen", "λ looped", "chaotic", "drifting", "accuracy"))
    assert sum(line.startswith("action_mnist") for line in answer.out.splitlines()) == 3 * len(FRACTIONS)
    assert "no evidence of chaos" in answer.err
    again = run(*words, "--json")
    assert "NaN" not in again.out
    assert (again.code, "scores taken from" in again.err) == (0, True)
    expected = made.table[made.table.measure != "activation_variance"].replace("", None).reset_index(drop=True)
    found = pd.DataFrame(again.json["rows"], columns=COLUMNS).replace("", None)
    pd.testing.assert_frame_equal(found.astype(expected.dtypes), expected)


def test_torch_has_as_many_threads_afterwards_as_before(run: Run, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """One while exponents are measured, and the old number again even where that fails."""
    seen, original = [], command.exponents

    def watched(*given: Any) -> Any:
        seen.append(torch.get_num_threads())
        if len(seen) > 2:
            raise RuntimeError("something odd")
        return original(*given)

    monkeypatch.setattr(command, "exponents", watched)
    torch.set_num_threads(2)
    assert run(*SEEN, f"model.weights={made.file}", "scorer=weight_norm").code == 1
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2


def test_what_nothing_is_removed_from_is_measured_once(
    run: Run, made: Made, undrawn: Undrawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stands in each order, with the numbers of `test_nothing_removed_is_the_same_in_all_orders`."""
    undrawn()
    stayed, original = [], command.exponents

    def watched(model: nn.Module, x: Tensor, keep: dict[str, Tensor]) -> Any:
        stayed.append(int(keep["lstm"].sum()))
        return original(model, x, keep)

    monkeypatch.setattr(command, "exponents", watched)
    assert run(*SEEN, f"model.weights={made.file}", "scorer=weight_norm").code == 0
    assert stayed == [6, *(3 * [3, 1])]


def test_without_weights_it_is_trained_first(
    run: Run, here: Path, undrawn: Undrawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the recipe; the weights that this leaves give the same."""
    undrawn()
    monkeypatch.setattr(ablation, "FRACTIONS", (0.0,))
    words = (*SEEN, "model.weights=random", "scorer=weight_norm", "recipe=smoke")
    first = run(*words, "--json")
    assert first.code == 0, first.err
    (file,) = (here / "runs/train").glob("*/model.safetensors")
    second = run(*SEEN, f"model.weights={file}", "scorer=weight_norm", "recipe=smoke", "--json")
    assert second.json == first.json
    assert len(list((here / "runs/train").glob("*/manifest.json"))) == 1
