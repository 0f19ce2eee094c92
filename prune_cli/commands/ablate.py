"""`prune-cli ablate`: what each unit is worth, and accuracy against the share of units removed (the report's Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from prune_cli import pipeline
from prune_cli.analysis import ablation
from prune_cli.commands.finished import once
from prune_cli.commands.request import check_used
from prune_cli.commands.subjects import MEASURES, Subject, opened, subjects, titles
from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import note, print_table
from prune_cli.report.ablation_figures import draw_curves, draw_units
from prune_cli.runs.files import write_csv, write_json
from prune_cli.runs.manifest import provenance
from prune_cli.runs.places import Places
from prune_cli.runs.store import MANIFEST, RunFolder

SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares removed that are printed
UNITS, CURVES, CLAIMS = "ablation", "curves", "claims"  # .csv


def plan(words: Iterable[str], places: Places) -> list[Subject]:
    """The models to take apart, each once. Raises RequestError before any work starts."""
    words = list(words)
    check_used(words, "ablate")
    found = subjects(words, places)
    if min(len(subject.measures) for subject in found) < 2:
        raise RequestError("Figure 4 sets two measures of units against each other", "scorer", MEASURES)
    return found


def ablate(planned: list[Subject], places: Places) -> dict[str, pd.DataFrame]:
    """Measure what is not measured yet; write ablation.csv, curves.csv, claims.csv and both figures."""
    found = [_measured(subject, places, f"[{n}/{len(planned)}]") for n, subject in enumerate(planned, start=1)]
    tables = {name: pd.concat([tables[name] for tables in found], ignore_index=True) for name in (UNITS, CURVES)}
    tables[CLAIMS] = ablation.claims(tables[CURVES])
    for name, table in tables.items():
        write_csv(places.results / f"{name}.csv", table)
    _draw(planned, tables, places)
    return tables


def show_ablation(tables: dict[str, pd.DataFrame], places: Places) -> None:
    """Print the accuracies at some shares removed, and the differences of the claims."""
    curves = tables[CURVES]
    wide = curves[curves.fraction.isin((0.0, *SHOWN))].pivot_table(
        index=["dataset", "placement", "measure", "keep"], columns="fraction", values="accuracy", sort=False
    )
    columns = ("dataset", "removed units", "measure", "keep", *(f"{100 * fraction:.0f} %" for fraction in wide.columns))
    rows = [(*key, *(f"{value:.2f}" for value in row)) for key, row in zip(wide.index, wide.to_numpy(), strict=True)]
    print_table(f"Accuracy [%] by share of units removed, {curves.run.nunique()} model(s)", columns, rows)
    claims = tables[CLAIMS][tables[CLAIMS].fraction.isin(SHOWN)].astype(object)
    shown = [_claim(row) for _, row in claims.iterrows()]
    if curves.run.nunique() > 1:
        print_table("\nDifferences [points]", ("dataset", "removed units", "claim", "removed", "mean", "95 %"), shown)
    note(f"written: {places.results}/{{{UNITS},{CURVES},{CLAIMS}}}.csv, {UNITS}.png, {CURVES}.png")


def _claim(row: pd.Series) -> tuple[str, ...]:
    ends = f"{row['low']:+.2f} … {row['high']:+.2f}"
    return row["dataset"], row["placement"], row["claim"], f"{100 * row['fraction']:.0f} %", f"{row['mean']:+.2f}", ends


def _measured(subject: Subject, places: Places, number: str) -> dict[str, pd.DataFrame]:
    """The rows of one subject, from its folder if they are there."""
    settings = subject.settings
    note(f"{number} {settings.model.title} on {settings.dataset.title}, seed {settings.seed}")
    jobs = subject.jobs(places)
    identity = {"measures": [pipeline.score_identity(job) for job in jobs], "test_images": settings.recipe.test_images}
    identity |= {"draws": ablation.DRAWS, "fractions": list(ablation.FRACTIONS)}
    folder = RunFolder.of(places.runs, "ablate", identity)
    once(folder, lambda: _measure(jobs, places, folder))
    about: dict[str, Any] = {"dataset": settings.dataset.name, "model": settings.model.name, "seed": settings.seed}
    return {
        name: pd.read_csv(folder.path / f"{name}.csv", keep_default_na=False).assign(**about, run=folder.path.name)
        for name in (UNITS, CURVES)
    }


def _measure(jobs: list[pipeline.Job], places: Places, folder: RunFolder) -> dict[str, Any]:
    model, values = opened(jobs, places)
    probe = ablation.Probe.of(model, pipeline.evaluation_batches(jobs[0], "test"))
    write_csv(folder.path / f"{UNITS}.csv", ablation.single(probe, values))
    write_csv(folder.path / f"{CURVES}.csv", ablation.curves(probe, values, jobs[0].settings.seed))
    record: dict[str, Any] = {"hash": folder.path.name, "identity": folder.identity, "config": jobs[0].settings.plain}
    record |= {"weights_sha256": jobs[0].weights.sha256, **provenance(jobs[0].device)}
    write_json(folder.path / MANIFEST, record)
    return record


def _draw(planned: list[Subject], tables: dict[str, pd.DataFrame], places: Places) -> None:
    up, across = (settings.scorer for settings in planned[0].measures[:2])
    called = titles(planned)
    chance = {s.settings.dataset.name: 100 / len(s.settings.dataset.classes) for s in planned}
    units = tables[UNITS]
    first = units[units.run == units.groupby("dataset").run.transform("first")]  # one model a panel
    draw_units(first, (up.name, across.name), called, places.results / f"{UNITS}.png")
    draw_curves(tables[CURVES], chance, called, places.results / f"{CURVES}.png")
