"""Selection: exactly the number asked for, the largest scores, ties by position, whatever the scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune_cli import masks
from prune_cli.common.errors import NumericalError, SelectionError
from prune_cli.masks import ranking
from prune_cli.masks.allocate import SCOPES, allocate, largest_remainder

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ODD = [0.0, -0.0, 1.0, -1.0, 0.5, float("inf"), float("-inf"), 1e-45, -1e-45, 1e-40, 3e38, -3e38]
values = st.one_of(st.sampled_from(ODD), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32))
tensors = st.lists(st.lists(values, min_size=1, max_size=40), min_size=1, max_size=5)
Select = Callable[..., dict[str, Tensor]]


def named(found: list[list[float]], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {f"tensor{number}": torch.tensor(row, dtype=dtype) for number, row in enumerate(found)}


def size(scores: dict[str, Tensor]) -> int:
    return sum(score.numel() for score in scores.values())


def by_sorting(scores: dict[str, Tensor], kept: int) -> Tensor:
    """The plain way: a stable sort of all scores, the largest first, -0.0 and 0.0 alike."""
    flat = torch.cat([score.flatten().double() for score in scores.values()]) + 0.0
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[torch.sort(-flat, stable=True).indices[:kept]] = True
    return keep


def check_global(scores: dict[str, Tensor], sparsity: float, select: Select) -> None:
    expected = by_sorting(scores, size(scores) - round(sparsity * size(scores)))
    found = select(scores, sparsity)
    assert torch.equal(torch.cat([keep.flatten() for keep in found.values()]), expected)


@settings(max_examples=120)
@given(tensors, st.floats(0, 1, exclude_max=True), st.sampled_from(DTYPES))
def test_global_selection_is_that_of_a_stable_sort(
    found: list[list[float]], sparsity: float, dtype: torch.dtype
) -> None:
    check_global(named(found, dtype), sparsity, masks.select)


@settings(max_examples=120)
@given(tensors, st.floats(0, 1, exclude_max=True), st.sampled_from(sorted(SCOPES)), st.integers(0, 3))
def test_the_count_is_exact_and_the_floor_is_met_or_refused(
    found: list[list[float]], sparsity: float, scope: str, floor: int
) -> None:
    scores = named(found)
    kept = size(scores) - round(sparsity * size(scores))
    try:
        mask = masks.select(scores, sparsity, scope, floor)
    except SelectionError:
        assert floor * len(scores) > kept or any(score.numel() < floor for score in scores.values())
        return
    assert sum(int(keep.sum()) for keep in mask.values()) == kept
    for name, keep in mask.items():
        assert keep.shape == scores[name].shape
        assert int(keep.sum()) >= floor
        kept_scores, removed = scores[name][keep] + 0.0, scores[name][~keep] + 0.0
        assert not len(kept_scores) or not len(removed) or bool(kept_scores.min() >= removed.max())


@settings(max_examples=60)
@given(tensors, st.floats(0, 1, exclude_max=True), st.integers(1, 3))
def test_a_floor_moves_no_more_than_it_must(found: list[list[float]], sparsity: float, floor: int) -> None:
    """The largest scores of each tensor up to the floor, then the largest of all others."""
    scores = named(found)
    kept = size(scores) - round(sparsity * size(scores))
    if floor * len(scores) > kept or any(score.numel() < floor for score in scores.values()):
        return
    raised = {}
    for name, score in scores.items():
        first = torch.sort(-(score.double() + 0.0), stable=True).indices[:floor]
        raised[name] = score.double().clone()
        raised[name][first] = float("inf")
    total = lambda some: sum(float(scores[n].double().clamp(-1e30, 1e30)[k].sum()) for n, k in some.items())  # noqa: E731
    mask = masks.select(scores, sparsity, "global", floor)
    flat = by_sorting(raised, kept)
    expected = dict(zip(scores, flat.split([score.numel() for score in scores.values()]), strict=True))
    assert total(mask) == pytest.approx(total(expected), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_larger_than_a_chunk_are_selected_from_alike(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "CHUNK", 7)
    draw = torch.Generator().manual_seed(0)
    for many in (1, 3):
        ties = {f"t{i}": torch.randint(-2, 3, (40,), generator=draw).to(dtype) for i in range(many)}
        reals = {f"t{i}": torch.randn(40, generator=draw).to(dtype) for i in range(many)}
        for sparsity in (0.0, 0.1, 0.5, 0.9, 0.99):
            check_global(ties, sparsity, masks.select)
            check_global(reals, sparsity, masks.select)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.integers(-5, 5), min_size=1, max_size=12), st.sampled_from(DTYPES)), min_size=1),
    st.floats(0, 1, exclude_max=True),
)
def test_tensors_of_different_precision_are_compared_exactly(
    found: list[tuple[list[int], torch.dtype]], sparsity: float
) -> None:
    """A tenth is another number in each dtype: none may be rounded to that of the threshold."""
    scores = {f"t{i}": (torch.tensor(row).double() / 10).to(dtype) for i, (row, dtype) in enumerate(found)}
    check_global(scores, sparsity, masks.select)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_number_from_the_largest_to_the_smallest_can_be_the_threshold(dtype: torch.dtype) -> None:
    """Around zero, where the bits of a float change sign, and at both ends."""
    info = torch.finfo(dtype)
    sizes = [info.smallest_normal * info.eps * n for n in (1, 2, 65535, 65536, 70000)] + [info.tiny, 1.0, info.max]
    ends = [float("inf"), float("-inf"), 0.0, -0.0, info.min]
    scores = {"w": torch.tensor([sign * size for size in sizes for sign in (1, -1)] + ends, dtype=dtype)}
    assert len(scores["w"].unique()) == len(scores["w"]) - 2  # 0.0 and -0.0 are one, and so is the lowest given twice
    for removed in range(size(scores)):
        check_global(scores, removed / size(scores), masks.select)


def test_mutants_of_selection_are_rejected() -> None:
    scores = named([[3.0, 1.0, 1.0, 2.0], [1.0, 0.0, 0.5]])
    check_global(scores, 0.5, masks.select)

    def keeps_all_ties(scores: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        flat = torch.cat(list(scores.values()))
        cut = flat.topk(len(flat) - round(sparsity * len(flat))).values.min()
        return {name: score >= cut for name, score in scores.items()}

    mutants: list[Select] = [
        lambda scores, sparsity: masks.select(scores, 1 - sparsity),
        lambda scores, sparsity: masks.select({n: -s for n, s in scores.items()}, sparsity),
        lambda scores, sparsity: masks.select(scores, sparsity, "uniform"),
        keeps_all_ties,
    ]
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check_global(scores, 0.45 if mutant is mutants[0] else 0.5, mutant)


def test_ties_go_to_the_earlier_tensor_and_the_earlier_index() -> None:
    mask = masks.select(named([[0.0] * 9, [0.0] * 11]), 0.4)
    assert mask["tensor0"].all()
    assert mask["tensor1"].tolist() == [True] * 3 + [False] * 8


def test_a_score_of_any_shape_gives_a_mask_of_that_shape_even_if_it_is_not_contiguous() -> None:
    score = torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1)
    mask = masks.select({"w": score}, 0.75)["w"]
    assert mask.shape == score.shape
    assert sorted(score[mask].tolist()) == [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]


def test_uniform_counts_by_hand() -> None:
    """10, 20 and 5 weights, 12 kept: shares 3.43, 6.86 and 1.71; the two largest remainders are rounded up."""
    assert largest_remainder({"a": 10, "b": 20, "c": 5}, 12) == {"a": 3, "b": 7, "c": 2}
    scores = {"a": torch.rand(10), "b": torch.rand(20), "c": torch.rand(5)}
    assert allocate(scores, 12, "uniform") == {"a": 3, "b": 7, "c": 2}
    assert allocate(scores, 12, "uniform", min_kept_per_tensor=3) == {"a": 3, "b": 6, "c": 3}


def test_the_sparsity_is_pythons_round_of_the_share_removed() -> None:
    for n, sparsity in ((786_432, 0.98), (5, 0.5), (7, 0.5), (1000, 0.973)):
        mask = masks.select({"w": torch.rand(n)}, sparsity)["w"]
        assert int(mask.sum()) == n - round(sparsity * n)


def test_nan_is_refused_by_the_tensors_name() -> None:
    for scope in SCOPES:
        for floor in (0, 1):
            with pytest.raises(NumericalError) as error:
                masks.select(
                    {"good": torch.ones(9), "bad.weight": torch.tensor([1.0, float("nan")])}, 0.5, scope, floor
                )
            assert error.value.where == "bad.weight"


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 98.0])
def test_a_sparsity_outside_of_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(SelectionError, match=r"\[0, 1\)"):
        masks.select({"w": torch.ones(4)}, sparsity)


def test_an_unknown_scope_and_a_floor_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(SelectionError, match="globe"):
        masks.select({"w": torch.ones(4)}, 0.5, "globe")
    with pytest.raises(SelectionError, match="cannot keep 5"):
        masks.select({"w": torch.ones(4), "v": torch.ones(40)}, 0.5, "global", 5)
    with pytest.raises(SelectionError, match="more than the 4"):
        masks.select({"w": torch.ones(4), "v": torch.ones(4)}, 0.5, "uniform", 3)
