"""Write docs/results-video-tables.md, the tables of the video study, from docs/study/video: `python tools/video_tables.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parents[1] / "docs"
STUDY, PAGE = DOCS / "study/video", DOCS / "results-video-tables.md"
DATASETS = {"action_mnist": "Action MNIST", "uiuc_video": "UIUC Video"}
PLACEMENTS = ("recurrence", "readout")
SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares removed
SOURCES = {
    "": "output",
    " surrogates=100": "output, corrected",
    " source=label": "label",
    " source=label surrogates=100": "label, corrected",
}
TE, MI = "transfer_entropy", "mutual_information"
BASELINES = {"activation_variance": "variance", "weight_norm": "weight norm"}
INTRODUCTION = """\
# Results: video, every table

Written by `python tools/video_tables.py` from `docs/study/video`, which `make study-video` makes; what follows from it is in
[Results: video](results-video.md). {models}, each from random weights with a seed of its own.

TE: transfer entropy, MI: mutual information; the source is the model's output for the correct label (the report's reading) or the
label; corrected: less the mean over 100 surrogates. Low removes the units with the highest values first, High those with the
lowest. Columns: share of the 128 units removed. Recurrence: a removed unit is silent inside the recurrence; readout: to the
classifier alone. Chance is 12.5 %.

Accuracies are means over the trained models, in percent of the test clips; orders drawn by chance are averaged within a model
first. A difference is in points, mean (low … high), the 95 % interval over the trained models by Student's t; it is **bold** where
the interval after Holm's correction for all comparisons of its claim on its dataset (`family` in `claims.csv`: placements × steps ×
shares removed) leaves 0 out as well."""


def main() -> None:
    """Write the page."""
    PAGE.write_text("\n".join(lines()) + "\n", encoding="utf-8")


def lines() -> Iterator[str]:
    """The lines of the page."""
    tables = {name: [pd.read_csv(STUDY / name / f"{kind}.csv") for kind in ("curves", "claims")] for name in DATASETS}
    counts = [f"{curves.run.nunique()} trained models of {DATASETS[name]}" for name, (curves, _) in tables.items()]
    yield from INTRODUCTION.format(models=" and ".join(counts)).splitlines()
    for name, (curves, claims) in tables.items():
        yield from ("", f"## {DATASETS[name]}")
        for placement in PLACEMENTS:
            yield from _table(f"Accuracy, {placement}", ("order",), accuracies(curves, placement))
        for steps in sorted(claims.steps.unique()):
            for placement in PLACEMENTS:
                after = f", after {steps} fine-tuning steps" if steps else ""
                yield from _table(
                    f"Differences, {placement}{after}", ("claim", "source"), differences(claims, placement, steps)
                )


def accuracies(curves: pd.DataFrame, placement: str) -> Iterator[tuple[str, ...]]:
    """A row an order of removal, without fine-tuning."""
    own = curves[(curves.placement == placement) & (curves.steps == 0) & curves.fraction.isin(SHOWN)]
    by_model = own.fillna({"keep": ""}).groupby(["measure", "keep", "fraction", "run"]).accuracy.mean()
    means = by_model.groupby(level=["measure", "keep", "fraction"]).mean().unstack("fraction")
    measures = {
        f"{short}, {{}}, {source}": name + options
        for options, source in SOURCES.items()
        for name, short in ((TE, "TE"), (MI, "MI"))
    }
    measures |= {f"{title}, {{}}": name for name, title in BASELINES.items()}
    for title, measure in measures.items():
        for keep in ("low", "high"):
            yield title.format(keep.title()), *_numbers(means.loc[(measure, keep)])
    yield "random", *_numbers(means.loc[("random", "")])


def differences(claims: pd.DataFrame, placement: str, steps: int) -> Iterator[tuple[str, ...]]:
    """A row a claim and source."""
    own = claims[(claims.placement == placement) & (claims.steps == steps)].set_index(["claim", "fraction"])
    for options, source in SOURCES.items():
        te, mi = TE + options, MI + options
        wanted = {
            "TE: Low − High": f"{te}: low - high",
            "MI: Low − High": f"{mi}: low - high",
            "Low: TE − MI": f"low: {te} - {mi}",
            "High: TE − MI": f"high: {te} - {mi}",
            "Low: TE − random": f"low: {te} - random",
            "High: TE − random": f"high: {te} - random",
            "Low: TE − variance": f"low: {te} - activation_variance",
            "High: TE − variance": f"high: {te} - activation_variance",
        }
        for title, claim in wanted.items():
            yield title, source, *(_difference(own.loc[(claim, share)]) for share in SHOWN)
    for measure, title in BASELINES.items():
        claim = f"{measure}: low - high"
        yield f"{title}: Low − High", "", *(_difference(own.loc[(claim, share)]) for share in SHOWN)


def _numbers(row: pd.Series) -> list[str]:
    return [f"{value:.1f}" for value in row]


def _difference(row: pd.Series) -> str:
    text = f"{row['mean']:+.1f} ({row['low']:+.1f} … {row['high']:+.1f})".replace("-", "−")
    return f"**{text}**" if row["low_holm"] > 0 or row["high_holm"] < 0 else text


def _table(heading: str, named: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    columns = (*named, *(f"{100 * share:.0f} %" for share in SHOWN))
    yield from ("", f"### {heading}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}")
    yield from (f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
