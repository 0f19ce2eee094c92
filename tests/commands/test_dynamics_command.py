"""`prune-cli dynamics`: as typed, and each of its numbers found again in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Answer, everything_in
from safetensors.torch import load_file, save_file
from tiny_lstm import SMALL, SMALL_CLIPS
from torch import Tensor, nn

from prune_cli import masks, pipeline
from prune_cli.analysis import ablation
from prune_cli.analysis import dynamics as analysis
from prune_cli.commands import dynamics as command
from prune_cli.commands.request import job_of
from prune_cli.commands.subjects import subjects
from prune_cli.models.lstm128 import ClipClassifier
from prune_cli.runs.places import Places
from prune_cli.runs.store import finished
from prune_cli.training.evaluate import evaluate
from prune_cli.units.dynamics import lstm_step, lyapunov
from prune_cli.units.removal import gate_inputs, shrink, weight_mask

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., Answer]
COLUMNS = [
    *("dataset", "model", "seed", "measure", "keep", "draw", "fraction", "removed"),
    *("lyapunov_clips", "lyapunov_clips_std", "lyapunov_frozen", "lyapunov_frozen_std", "chaotic_frozen", "accuracy"),
]
UNITS, FRAMES = 6, 4
CLIPS, FROZEN_CLIPS, WARM_UP, STEPS = 5, 3, 2, 4  # fewer clips than the test split has
FRACTIONS = (0.0, 0.5, 0.9)
MEASURES = ("weight_norm", "activation_variance")
ORDERS = [*((measure, keep) for measure in MEASURES for keep in ("low", "high")), ("random", "")]
SEEN = ("dynamics", "model=lstm128", f"model.units={UNITS}", *SMALL_CLIPS)


@pytest.fixture(autouse=True, scope="module")
def a_few() -> Iterator[None]:
    """Short trajectories, and few shares removed."""
    few = {"CLIPS": CLIPS, "FROZEN_CLIPS": FROZEN_CLIPS, "WARM_UP": WARM_UP, "STEPS": STEPS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(analysis, name, value)
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

    places: Places
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
    places, file = Places(folder / "runs", folder / "results", built_data), folder / "loud.safetensors"
    save_file(loud().state_dict(), file)
    words = (*SEEN[1:], f"model.weights={file}", f"scorer={','.join(MEASURES)}")
    command.dynamics(subjects(words, places), places)
    job = job_of([*SMALL, "sparsity=dense"], places, "prune")
    (x, y), *_ = pipeline.evaluation_batches(job, "test")
    ((_, _, _, drawn),) = ablation.orders({}, UNITS, 0, 1)
    scores = {"random": drawn}
    for record in finished(places.runs, "score").values():
        units = pd.read_csv(places.runs / "score" / record["hash"] / "units.csv")  # as they were measured
        values, name = torch.tensor(units.value.to_numpy()), record["scorer"]
        scores |= {name: -values, f"-{name}": values}
    table = pd.read_csv(places.results / "dynamics.csv", keep_default_na=False)
    return Made(places, table, (x, y), scores, file)


def test_a_row_an_order_and_a_share(made: Made) -> None:
    table = made.table
    assert everything_in(made.places.results) == {"dynamics.csv", "dynamics.png"}
    assert list(table.columns) == COLUMNS
    assert set(map(tuple, table[["dataset", "model", "seed", "draw"]].to_numpy())) == {
        ("action_mnist", "lstm128", 0, 0)
    }
    expected = [(*order, fraction) for order in ORDERS for fraction in FRACTIONS]
    assert list(zip(table.measure, table.keep, table.fraction, strict=True)) == expected
    assert list(table.removed) == [0, 3, 5] * len(ORDERS)
    assert table.chaotic_frozen.between(0, 1).all()
    assert table.accuracy.between(0, 100).all()


def test_the_picture_is_one(made: Made) -> None:
    picture = (made.places.results / "dynamics.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 20_000


def test_nothing_removed_is_the_same_in_all_orders(made: Made) -> None:
    numbers = made.table.groupby("fraction")[COLUMNS[8:]].nunique()
    assert (numbers.loc[0.0] == 1).all()
    assert (numbers.loc[0.5, ["lyapunov_clips", "lyapunov_frozen"]] > 1).all()  # which units are removed matters


def test_the_exponents_are_those_of_the_shrunk_lstm(made: Made) -> None:
    """By hand: the first test clips through the smaller model, in float64."""
    for row in made.table[made.table.measure != "activation_variance"].itertuples():
        small = shrink(made.model(), made.keep(row)).double()
        gates = gate_inputs(small.lstm, small.features(made.clips[0][:CLIPS].double()))
        rest = torch.zeros(CLIPS, 2 * (UNITS - row.removed), dtype=torch.float64)
        along = lyapunov(lstm_step(small.lstm, gates), rest, FRAMES)[:, 0]
        last = lstm_step(small.lstm, gates[:FROZEN_CLIPS, -1])
        frozen = lyapunov(last, rest[:FROZEN_CLIPS], STEPS, warmup=WARM_UP)[:, 0]
        found = (row.lyapunov_clips, row.lyapunov_clips_std, row.lyapunov_frozen, row.lyapunov_frozen_std)
        expected = (along.mean(), along.std(), frozen.mean(), frozen.std())
        assert found == pytest.approx([float(value) for value in expected], rel=1e-9)
        assert row.chaotic_frozen == float((frozen > 0).double().mean())


def test_the_frozen_input_is_the_last_frame_and_the_warm_up_does_not_count(made: Made) -> None:
    """Mutants: the first frame frozen, or the warm-up counted."""
    model = made.model().double()
    gates = gate_inputs(model.lstm, model.features(made.clips[0][:FROZEN_CLIPS].double()))
    rest = torch.zeros(FROZEN_CLIPS, 2 * UNITS, dtype=torch.float64)

    def exponent(frame: int, steps: int, warmup: int) -> float:
        return float(lyapunov(lstm_step(model.lstm, gates[:, frame]), rest, steps, warmup=warmup).mean())

    found = made.table.lyapunov_frozen[0]
    assert found == pytest.approx(exponent(-1, STEPS, WARM_UP), rel=1e-9)
    for mutant in ((0, STEPS, WARM_UP), (-1, STEPS, 0), (-1, WARM_UP + STEPS, 0)):
        assert abs(found - exponent(*mutant)) > 1e-6, mutant


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


def test_what_is_typed_is_printed_and_is_json(run: Run, here: Path, made: Made) -> None:
    """Trained weights are measured as they are."""
    words = (*SEEN, f"model.weights={made.file}", "scorer=weight_norm")
    answer = run(*words)
    assert answer.code == 0, answer.err
    assert everything_in(here / "results") == {"dynamics.csv", "dynamics.png"}
    assert not (here / "runs/train").exists()
    assert all(word in answer.out for word in ("λ clips", "λ frozen", "above 0", "accuracy"))
    assert sum(line.startswith("action_mnist") for line in answer.out.splitlines()) == 3 * len(FRACTIONS)
    again = run(*words, "--json")
    assert (again.code, "scores taken from" in again.err) == (0, True)
    expected = made.table[made.table.measure != "activation_variance"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(again.json["rows"], columns=COLUMNS), expected)


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


def test_what_nothing_is_removed_from_is_measured_once(run: Run, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stands in each order, with the numbers of `test_nothing_removed_is_the_same_in_all_orders`."""
    stayed, original = [], command.exponents

    def watched(model: nn.Module, clips: Tensor, keep: dict[str, Tensor]) -> Any:
        stayed.append(int(keep["lstm"].sum()))
        return original(model, clips, keep)

    monkeypatch.setattr(command, "exponents", watched)
    assert run(*SEEN, f"model.weights={made.file}", "scorer=weight_norm").code == 0
    assert stayed == [6, *(3 * [3, 1])]


def test_without_weights_it_is_trained_first(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the recipe; the weights that this leaves give the same."""
    monkeypatch.setattr(ablation, "FRACTIONS", (0.0,))
    words = (*SEEN, "model.weights=random", "scorer=weight_norm", "recipe=smoke")
    first = run(*words, "--json")
    assert first.code == 0, first.err
    (file,) = (here / "runs/train").glob("*/model.safetensors")
    second = run(*SEEN, f"model.weights={file}", "scorer=weight_norm", "recipe=smoke", "--json")
    assert second.json == first.json
    assert len(list((here / "runs/train").glob("*/manifest.json"))) == 1
