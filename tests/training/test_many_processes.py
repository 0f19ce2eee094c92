"""Two processes that share each batch, over gloo on the CPU: they are one run, and it is the run of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_cli.common.ranks import ALONE, Ranks
from prune_cli.sweeps.child import environments

sys.path.insert(0, str(Path(__file__).parent))
import together

WORLDS = st.integers(1, 9)
SIZES = st.integers(0, 70)


@given(WORLDS, SIZES)
def test_the_shares_are_the_batch_and_no_place_is_in_two(world: int, size: int) -> None:
    shares = [Ranks(rank, world).local_indices(size) for rank in range(world)]
    assert sorted(place for share in shares for place in share) == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 2


@given(WORLDS, SIZES)
def test_what_is_mixed_with_a_place_is_at_the_same_place_of_the_turned_share(world: int, size: int) -> None:
    for rank in range(world):
        share = Ranks(rank, world).local_indices(size)
        assert share == sorted(share)
        assert [size - 1 - place for place in share] == share[::-1]


def started(folder: Path) -> list[subprocess.Popen[str]]:
    home = folder / "it's 100%20 odd? #"
    home.mkdir()
    command = [sys.executable, together.__file__, str(folder)]
    return [
        subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | rank,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in environments(2, home)
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found, by rank; `said` is what each wrote on stdout, `folder` where their checkpoints are."""
    folder = tmp_path_factory.mktemp("together")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    together.begun(ALONE, folder / "of_one")
    torch.set_num_threads(threads)
    processes = started(folder)
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(err for _, err in said)
    both = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
    return [own | {"said": out, "folder": folder} for own, (out, _) in zip(both, said, strict=True)]


def distance(one: Any, other: Any) -> float:
    """The largest difference between two runs' weights, and figures by epoch."""
    weights = [float((one[0][name] - other[0][name]).abs().max()) for name in one[0]]
    figures = [abs(row[key] - theirs[key]) for row, theirs in zip(one[1], other[1], strict=True) for key in row]
    return max(*weights, *figures)


def test_the_environment_says_who_is_who_and_the_first_alone_speaks(found: list[dict[str, Any]]) -> None:
    assert [own["ranks"] for own in found] == [Ranks(0, 2), Ranks(1, 2)]
    assert [own["said"] for own in found] == ["the first alone is heard\n", ""]


@pytest.mark.parametrize("name", together.RECIPES)
def test_in_float64_the_weights_are_those_of_one_process(name: str, found: list[dict[str, Any]]) -> None:
    both, one = [own[name] for own in found], together.by_recipe(ALONE, name)
    assert distance(both[0], both[1]) == 0
    assert distance(both[0], one) < 1e-9
    assert distance(one, (together.network().state_dict(), one[1])) > 1e-3  # something was trained
    assert not one[0]["1.weight"][~together.KEEP].any()
    assert not both[0][0]["1.weight"][~together.KEEP].any()


def test_the_mutant_of_unweighted_means_is_rejected(found: list[dict[str, Any]]) -> None:
    """An empty or smaller share must not count as a whole one: then the uneven run would end elsewhere."""
    one = together.by_recipe(ALONE, "one")
    assert distance(one, together.by_recipe(ALONE, "decayed")) > 1e-6
    total = found[0]["travelled"]
    assert [g.tolist() for g in total] == [[0.75] * 3, [1.75], [2.75] * 5, [3.75] * 2]


def test_every_test_image_counts_once(found: list[dict[str, Any]]) -> None:
    one, both = together.counted(ALONE), [own["counted"] for own in found]
    assert both[0] == both[1]
    assert (both[0].images, both[0].accuracy) == (19, one.accuracy)
    assert both[0].loss == pytest.approx(one.loss, abs=1e-12)


def test_bf16_and_accumulation_go_together_with_the_survivors(found: list[dict[str, Any]]) -> None:
    both, one = [own["in_bf16"] for own in found], together.in_bf16(ALONE)
    assert distance(both[0], both[1]) == 0
    weight = both[0][0]["1.weight"]
    assert weight.dtype == torch.float32 and not weight[~together.KEEP].any() and weight[together.KEEP].all()
    assert distance((both[0][0], []), (one[0], [])) < 0.02


def test_a_loss_that_one_share_spoils_ends_both(found: list[dict[str, Any]]) -> None:
    assert [own["diverged"] for own in found] == ["the loss is nan while training"] * 2


@pytest.mark.parametrize(("name", "where"), [("stopped", (1, 1)), ("stopped_in_evaluation", (1, 3))])
def test_stopped_at_different_moments_they_stop_at_one_and_go_on_to_the_same_bits(
    name: str, where: tuple[int, int], found: list[dict[str, Any]]
) -> None:
    for own in found:
        progress, ended = own[name]
        assert (progress["epoch"], progress["step"]) == where
        assert distance(ended, own["alone"]) == 0
    assert distance(found[0][name][1], found[1][name][1]) == 0


def test_dropout_differs_between_the_processes(found: list[dict[str, Any]]) -> None:
    """The mutant: with the same draws in both, a run would be that of images that share their dropout."""
    assert distance(found[0]["alone"], together.alone(ALONE)) > 1e-6


def test_two_go_on_where_one_was_and_one_where_two_were(found: list[dict[str, Any]], tmp_path: Path) -> None:
    one = together.gone_on(ALONE, tmp_path)
    assert distance(found[0]["from_one"], one) < 1e-9
    assert distance(together.gone_on(ALONE, found[0]["folder"] / "of_two"), one) < 1e-9


def test_where_the_first_fails_the_others_learn_it(found: list[dict[str, Any]]) -> None:
    assert found[0]["failed"] == ("NumericalError", "a score is NaN")
    assert found[1]["failed"] == ("LostError", "another process of this run has ended: error: a score is NaN")


def test_where_one_dies_the_other_is_told(found: list[dict[str, Any]]) -> None:
    assert found[0]["left_behind"] == "another process of this run has ended"


def test_processes_that_differ_are_refused(found: list[dict[str, Any]]) -> None:
    assert [own["differing"] for own in found] == ["the processes of this run differ: their masks"] * 2
