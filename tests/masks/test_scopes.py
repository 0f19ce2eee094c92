"""Scopes beside global and uniform: erk, row, and N:M patterns. Always the exact number, always the largest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_cli import masks
from prune_cli.common.errors import ConfigError, SelectionError
from prune_cli.masks.allocate import Sparsity, allocate
from prune_cli.masks.pattern import keep_pattern
from prune_cli.masks.select import keep_largest_in_rows

shapes = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=4)


def drawn(found: list[tuple[int, int]], seed: int, levels: int = 5) -> dict[str, torch.Tensor]:
    """Scores with many ties."""
    draw = torch.Generator().manual_seed(seed)
    return {str(n): torch.randint(levels, shape, generator=draw).float() for n, shape in enumerate(found)}


@settings(max_examples=150)
@given(shapes, st.floats(0, 1, exclude_max=True), st.sampled_from(["erk", "row"]), st.integers(0, 5))
def test_the_count_is_exact(found: list[tuple[int, int]], sparsity: float, scope: str, seed: int) -> None:
    scores = drawn(found, seed)
    size = sum(score.numel() for score in scores.values())
    mask = masks.select(scores, sparsity, scope)
    assert sum(int(keep.sum()) for keep in mask.values()) == size - round(sparsity * size)


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 5), st.data())
def test_a_row_keeps_its_own_largest_and_of_equals_the_earlier(rows: int, columns: int, seed: int, data) -> None:  # type: ignore[no-untyped-def]
    count = data.draw(st.integers(0, rows * columns))
    score = drawn([(rows, columns)], seed)["0"]
    keep = keep_largest_in_rows(score, count)
    for number, (row, kept) in enumerate(zip(score.tolist(), keep, strict=True)):
        share = count // rows + (number < count % rows)
        wanted = sorted(range(columns), key=lambda place: -row[place])[:share]  # stable
        assert kept.nonzero().flatten().tolist() == sorted(wanted)


def test_a_row_of_a_convolution_is_one_output_channel() -> None:
    score = torch.arange(2 * 2 * 2 * 2.0).view(2, 2, 2, 2)
    keep = masks.select({"w": score}, 0.75, "row")["w"]
    assert keep.flatten(1).sum(1).tolist() == [2, 2]
    assert bool(keep[0, 1, 1].all()) and bool(keep[1, 1, 1].all())


def test_global_selection_is_not_that_of_rows() -> None:
    score = torch.tensor([[1.0, 2.0], [30.0, 40.0]])
    assert masks.select({"w": score}, 0.5)["w"].tolist() == [[False, False], [True, True]]
    assert masks.select({"w": score}, 0.5, "row")["w"].tolist() == [[False, True], [False, True]]


def test_erk_by_hand() -> None:
    """Densities in proportion to (in + out) / (in · out): 100×100 and 10×10, 1,000 kept.

    Raw shares of 200 : 20 would give the small one 90.9; at 2,000 kept it would get 182 of 100, so it is full.
    """
    scores = {"large": torch.zeros(100, 100), "small": torch.zeros(10, 10)}
    assert allocate(scores, 1_000, "erk") == {"large": 909, "small": 91}
    assert allocate(scores, 2_000, "erk") == {"large": 1_900, "small": 100}
    conv = {"kernel": torch.zeros(8, 4, 3, 3), "line": torch.zeros(12, 6)}  # 18 : 18
    assert allocate(conv, 60, "erk") == {"kernel": 30, "line": 30}


def test_erk_at_no_sparsity_keeps_everything() -> None:
    mask = masks.select({"a": torch.rand(3, 4), "b": torch.rand(2, 2)}, 0.0, "erk")
    assert all(bool(keep.all()) for keep in mask.values())


def test_a_pattern_keeps_two_of_four_along_the_input() -> None:
    score = torch.tensor([[1.0, 4.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]])
    assert keep_pattern(score, "2:4").tolist() == [[False, True, True, False, True, True, False, False]]


def test_a_pattern_of_a_convolution_runs_over_its_input_channels() -> None:
    score = torch.rand(6, 8, 3, 3)
    keep = masks.select({"w": score}, 0.5, pattern="2:4")["w"]
    groups = keep.permute(0, 2, 3, 1).reshape(-1, 4)
    assert bool((groups.sum(1) == 2).all())
    lost, kept = (
        score.permute(0, 2, 3, 1).reshape(-1, 4).masked_fill(hide, fill) for hide, fill in ((groups, -1), (~groups, 2))
    )
    assert bool((lost.amax(1) <= kept.amin(1)).all())


@pytest.mark.parametrize("pattern", ["2:2", "4:2", "0:4", "2", "a:b", "2:4:8", "-1:4"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        Sparsity(50, pattern=pattern)


def test_a_pattern_decides_the_sparsity_and_leaves_no_scope() -> None:
    assert Sparsity(50, pattern="2:4").fraction == 0.5
    assert Sparsity(75, pattern="1:4").fraction == 0.75
    for wrong in ({"percent": 90}, {"scope": "row"}, {"min_kept_per_tensor": 1}):
        with pytest.raises(ConfigError):
            Sparsity(**({"percent": 50, "pattern": "2:4"} | wrong))
    with pytest.raises(ConfigError):
        masks.select({"w": torch.rand(4, 4)}, 0.9, pattern="2:4")


def test_a_pattern_of_thirds_is_typed_in_a_few_digits_and_removes_them_exactly() -> None:
    assert Sparsity(66.67, pattern="1:3").fraction == 1 - 1 / 3
    with pytest.raises(ConfigError) as error:
        Sparsity(60, pattern="1:3")
    typed = float(str(error.value.hint).removeprefix("sparsity="))
    fraction = Sparsity(typed, pattern="1:3").fraction
    assert int(masks.select({"w": torch.rand(7, 9)}, fraction, pattern="1:3")["w"].sum()) == 21


def test_an_input_that_does_not_divide_is_named() -> None:
    with pytest.raises(SelectionError) as error:
        masks.select({"good": torch.rand(4, 4), "stem": torch.rand(4, 6)}, 0.5, pattern="2:4")
    assert error.value.where == "stem"
