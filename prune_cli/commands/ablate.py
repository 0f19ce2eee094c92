"""`prune-cli ablate`: what each unit is worth, and accuracy against the share of units removed (the report's Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from prune_cli import pipeline
from prune_cli.analysis import ablation
from prune_cli.commands.finished import once
from prune_cli.commands.request import from_scratch
from prune_cli.commands.sweep import settings_of
from prune_cli.commands.train import train
from prune_cli.common.errors import RequestError
from prune_cli.common.terminal import note, print_table
from prune_cli.config.schema import Settings
from prune_cli.report.ablation_figures import draw_curves, draw_units
from prune_cli.runs.files import write_csv, write_json
from prune_cli.runs.manifest import provenance
from prune_cli.runs.places import Places
from prune_cli.runs.store import MANIFEST, RunFolder

MEASURES = "scorer=transfer_entropy,mutual_information"  # up and across in Figure 4 (a)
NOT_OF_TRAINING = ("scorer", "scoring", "removal", "sparsity")
SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares removed that are printed
UNITS, CURVES, CLAIMS = "ablation", "curves", "claims"  # .csv


@dataclass(frozen=True)
class Subject:
    """A model on a dataset, to be trained first where `scratch` says how, and the settings of each measure of its units."""

    measures: list[Settings]
    scratch: Settings | None

    @property
    def settings(self) -> Settings:
        """Those of the first measure; all measures share model, data and seed."""
        return self.measures[0]


def plan(words: Iterable[str], places: Places) -> list[Subject]:
    """The models to take apart, each once. Raises RequestError before any work starts."""
    words = list(words)
    measuring = words if any(word.startswith("scorer=") for word in words) else [*words, MEASURES]
    subjects: dict[str, list[Settings]] = {}
    for settings in settings_of(measuring, places):
        subjects.setdefault(_key(settings), []).append(settings)
    training = [word for word in words if word.partition("=")[0].partition(".")[0] not in NOT_OF_TRAINING]
    dense = {_key(settings): settings for settings in settings_of(from_scratch(training), places)}
    found = [Subject(own, dense[key] if own[0].model.weights == "random" else None) for key, own in subjects.items()]
    workshop = pipeline.Workshop(places)
    for subject in found:
        _check(subject)
        for settings in (*subject.measures, *filter(None, [subject.scratch])):
            workshop.job(settings)
    return found


def ablate(subjects: list[Subject], places: Places) -> dict[str, pd.DataFrame]:
    """Measure what is not measured yet; write ablation.csv, curves.csv, both figures and, of several seeds, claims.csv."""
    found = [_measured(subject, places, f"[{n}/{len(subjects)}]") for n, subject in enumerate(subjects, start=1)]
    tables = {name: pd.concat([tables[name] for tables in found], ignore_index=True) for name in (UNITS, CURVES)}
    tables[CLAIMS] = ablation.claims(tables[CURVES])
    for name, table in tables.items():
        write_csv(places.results / f"{name}.csv", table)
    _draw(subjects, tables, places)
    return tables


def show_ablation(tables: dict[str, pd.DataFrame], places: Places) -> None:
    """Print the accuracies at some shares removed, and the differences of the claims."""
    curves = tables[CURVES]
    wide = curves[curves.fraction.isin((0.0, *SHOWN))].pivot_table(
        index=["dataset", "placement", "measure", "keep"], columns="fraction", values="accuracy", sort=False
    )
    columns = ("dataset", "removed units", "measure", "keep", *(f"{100 * fraction:.0f} %" for fraction in wide.columns))
    rows = [(*key, *(f"{value:.2f}" for value in row)) for key, row in zip(wide.index, wide.to_numpy(), strict=True)]
    print_table(f"Accuracy [%] by share of units removed, {curves.seed.nunique()} seed(s)", columns, rows)
    claims = tables[CLAIMS][tables[CLAIMS].fraction.isin(SHOWN)].astype(object)
    shown = [_claim(row) for _, row in claims.iterrows()]
    if curves.seed.nunique() > 1:
        print_table("\nDifferences [points]", ("dataset", "removed units", "claim", "removed", "mean", "95 %"), shown)
    note(f"written: {places.results}/{{{UNITS},{CURVES},{CLAIMS}}}.csv, {UNITS}.png, {CURVES}.png")


def _claim(row: pd.Series) -> tuple[str, ...]:
    ends = f"{row['low']:+.2f} … {row['high']:+.2f}"
    return row["dataset"], row["placement"], row["claim"], f"{100 * row['fraction']:.0f} %", f"{row['mean']:+.2f}", ends


def _check(subject: Subject) -> None:
    if len(subject.measures) < 2:
        raise RequestError("Figure 4 sets two measures of units against each other", "scorer", MEASURES)
    for settings in subject.measures:
        if not hasattr(settings.scorer, "measures"):
            what = f"{settings.scorer.name} measures no units; random orders are drawn anyway"
            raise RequestError(what, "scorer", MEASURES)


def _key(settings: Settings) -> str:
    return repr((settings.model, settings.dataset, settings.seed, settings.compute))


def _measured(subject: Subject, places: Places, number: str) -> dict[str, pd.DataFrame]:
    """The rows of one subject, from its folder if they are there."""
    jobs = [pipeline.Workshop(places).job(each) for each in _trained(subject, places)]
    note(f"{number} {jobs[0].settings.model.title} on {jobs[0].settings.dataset.title}, seed {jobs[0].settings.seed}")
    identity = {"measures": [pipeline.score_identity(job) for job in jobs], "draws": ablation.DRAWS}
    folder = RunFolder.of(places.runs, "ablate", identity | {"fractions": list(ablation.FRACTIONS)})
    once(folder, lambda: _measure(jobs, places, folder))
    settings = jobs[0].settings
    about: dict[str, Any] = {"dataset": settings.dataset.name, "model": settings.model.name, "seed": settings.seed}
    return {
        name: pd.read_csv(folder.path / f"{name}.csv", keep_default_na=False).assign(**about, run=folder.path.name)
        for name in (UNITS, CURVES)
    }


def _trained(subject: Subject, places: Places) -> list[Settings]:
    """The settings of the measures, with the weights that training made where there were none."""
    if subject.scratch is None:
        return subject.measures
    record = train(pipeline.Workshop(places).job(subject.scratch), places)
    weights = str(places.runs / "train" / record["hash"] / "model.safetensors")
    composer = pipeline.composer(places)
    return [
        composer.from_plain(each.plain | {"model": each.plain["model"] | {"weights": weights}})
        for each in subject.measures
    ]


def _measure(jobs: list[pipeline.Job], places: Places, folder: RunFolder) -> dict[str, Any]:
    pipeline.keep_data(jobs[0], places)
    model, parameters = pipeline.build_model(jobs[0])
    values = {
        job.settings.scorer.name: _values(job, pipeline.find_scores(job, model, parameters, places)[0]) for job in jobs
    }
    probe = ablation.Probe.of(model, pipeline.evaluation_batches(jobs[0], "test"))
    write_csv(folder.path / f"{UNITS}.csv", ablation.single(probe, values))
    write_csv(folder.path / f"{CURVES}.csv", ablation.curves(probe, values, jobs[0].settings.seed))
    record: dict[str, Any] = {"hash": folder.path.name, "identity": folder.identity, "config": jobs[0].settings.plain}
    record |= {"weights_sha256": jobs[0].weights.sha256, **provenance(jobs[0].device)}
    write_json(folder.path / MANIFEST, record)
    return record


def _values(job: pipeline.Job, scores: dict[str, Tensor]) -> Tensor:
    """What was measured of each unit, (U,): the score without its direction."""
    (score,) = scores.values()
    return (score if job.settings.scorer.keep == "high" else -score).cpu()


def _draw(subjects: list[Subject], tables: dict[str, pd.DataFrame], places: Places) -> None:
    up, across = (settings.scorer for settings in subjects[0].measures[:2])
    titles = {scorer.name: scorer.title for scorer in (s.scorer for subject in subjects for s in subject.measures)}
    titles |= {subject.settings.dataset.name: subject.settings.dataset.title for subject in subjects}
    chance = {s.settings.dataset.name: 100 / len(s.settings.dataset.classes) for s in subjects}
    units = tables[UNITS]
    first = units[units.seed == units.groupby("dataset").seed.transform("first")]  # one model a panel
    draw_units(first, (up.name, across.name), titles, places.results / f"{UNITS}.png")
    draw_curves(tables[CURVES], chance, titles, places.results / f"{CURVES}.png")
