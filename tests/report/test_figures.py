"""The figure of drift: what is counted, and that a picture comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from prune_cli.report import figures
from prune_cli.report.figures import Panel, density, draw, reach


def panels(number: int) -> list[Panel]:
    return [Panel(f"panel {i}", "r = 1", density([(torch.rand(99), torch.rand(99))], 1.0, 11)) for i in range(number)]


def test_every_value_within_the_limit_is_counted_once() -> None:
    torch.manual_seed(0)
    pairs = [(torch.randn(40, 25), torch.randn(40, 25)), (torch.randn(300), torch.randn(300))]
    x, y = (torch.cat([pair[k].flatten() for pair in pairs]) for k in (0, 1))
    counts_XY = density(pairs, 1.5, bins=31)
    assert counts_XY.sum() == int(((x.abs() <= 1.5) & (y.abs() <= 1.5)).sum()) < 1300
    assert density(pairs, 10.0).sum() == 1300
    assert (counts_XY == np.histogram2d(x, y, bins=31, range=((-1.5, 1.5),) * 2)[0]).all()


def test_before_is_across_and_after_is_up() -> None:
    counts_XY = density([(torch.tensor([0.9]), torch.tensor([-0.9]))], 1.0, bins=3)
    assert counts_XY[2, 0] == counts_XY.sum() == 1


@pytest.mark.parametrize(("share", "expected"), [(0.9, 90.0), (0.99, 99.0), (0.5, 50.0), (0.0, 0.0)])
def test_reach_is_the_quantile_of_the_magnitudes_of_all_tensors(share: float, expected: float) -> None:
    values = torch.arange(101.0)[torch.randperm(101, generator=torch.Generator().manual_seed(0))]
    tensors = [-values[:70].reshape(7, 10), values[70:]]
    assert reach(tensors, share) == expected == np.quantile(values, share)


@pytest.mark.parametrize("number", [1, 3, 6])
def test_the_file_is_a_png_with_a_square_for_each_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    drawn: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *words: object, **options: object):
            super().__init__(*words, **options)  # type: ignore[arg-type]
            drawn.append(self)

    monkeypatch.setattr(figures, "Figure", Kept)
    draw(panels(number), 1.0, "a title", tmp_path / "new/drift.png")
    assert (tmp_path / "new/drift.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["drift.png"]
    squares = [axes for axes in drawn[0].axes if axes.images]
    assert [axes.get_title().strip() for axes in squares] == [f"panel {i}" for i in range(number)]
    assert {axes.get_xlim() + axes.get_ylim() for axes in squares} == {(-1.0, 1.0, -1.0, 1.0)}
    assert len(drawn[0].axes) == number + 1  # and the colour bar


def test_the_same_panels_give_the_same_picture_and_leave_no_global_state(tmp_path: Path) -> None:
    import sys

    shown = panels(2)
    for name in ("one.png", "two.png"):
        draw(shown, 1.0, "a title", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules
