"""`prune-cli ablate`: accuracy without each unit, and against the share of units removed (the report's Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable

from prune_cli import pipeline
from prune_cli.analysis import ablation, probe
from prune_cli.analysis.claims import SHOWN, claims
from prune_cli.analysis.probe import Probe
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import pd
from prune_cli.common.plain import JsonObject
from prune_cli.common.terminal import note, print_table
from prune_cli.config.schema import Settings
from prune_cli.execution.request import check_used
from prune_cli.execution.run_once import run_once
from prune_cli.execution.trained_models import (
    MEASURES,
    TrainedModel,
    figure_titles,
    measure_name,
    measure_trained_model,
    trained_models,
)
from prune_cli.report.ablation_figures import draw_curves, draw_units
from prune_cli.runs.artefacts import ABLATION, CLAIMS, CURVES, MANIFEST
from prune_cli.runs.files import write_csv, write_json
from prune_cli.runs.manifest import provenance
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import AblationRecord
from prune_cli.runs.store import RunFolder

BASELINES = ("activation_variance", "weight_norm")  # measures without a source, beside those of information


def plan_ablation(words: Iterable[str], paths: Paths) -> list[TrainedModel]:
    """The trained models to ablate, each once. Raises RequestError before any work starts."""
    words = list(words)
    check_used(words, "ablate")
    found = trained_models(words, paths, BASELINES)
    if any(len(_informative(subject)) < 2 for subject in found):
        raise RequestError("Figure 4 sets two measures of units against each other", "scorer", MEASURES)
    return found


def ablate(planned: list[TrainedModel], paths: Paths) -> dict[str, pd.DataFrame]:
    """Ablate the models that are not finished; write ablation.csv, curves.csv, claims.csv and their figures."""
    found = [_measured(subject, paths, f"[{n}/{len(planned)}]") for n, subject in enumerate(planned, start=1)]
    tables = {name: pd.concat([tables[name] for tables in found], ignore_index=True) for name in (ABLATION, CURVES)}
    tables[CLAIMS] = claims(tables[CURVES], BASELINES)
    for name, table in tables.items():
        write_csv(paths.results / f"{name}.csv", table)
    _draw(planned, tables, paths)
    return tables


def show_ablation(tables: dict[str, pd.DataFrame], paths: Paths) -> None:
    """Print the accuracies at some shares removed, and the differences of the claims."""
    curves = tables[CURVES]
    wide = curves[curves.fraction.isin((0.0, *SHOWN))].pivot_table(
        index=["dataset", "placement", "steps", "measure", "keep"], columns="fraction", values="accuracy", sort=False
    )
    shares = [f"{100 * fraction:.0f} %" for fraction in wide.columns]
    rows = [(*key, *map(_number, row)) for key, row in zip(wide.index, wide.to_numpy(), strict=True)]
    models = ", ".join(f"{name}: {n} trained model(s)" for name, n in curves.groupby("dataset").run.nunique().items())
    columns = ("dataset", "removed units", "steps", "measure", "keep", *shares)
    print_table(f"Accuracy [%] by share of units removed. {models}", columns, rows)
    if (tables[CLAIMS].n > 1).any():
        shown = [_claim(row) for _, row in tables[CLAIMS].astype(object).iterrows()]
        columns = ("dataset", "removed units", "steps", "claim", "removed", "mean", "95 %", "Holm", "p", "p Holm")
        print_table("\nDifferences [points]", columns, shown)
    note(f"written: {paths.results}/{{{ABLATION},{CURVES},{CLAIMS}}}.csv, {ABLATION}.png, {CURVES}*.png")


def _claim(row: pd.Series) -> tuple[str, ...]:
    plain, wider = (f"{row[f'low{of}']:+.2f} … {row[f'high{of}']:+.2f}" for of in ("", "_holm"))
    case = row["dataset"], row["placement"], str(row["steps"]), row["claim"], f"{100 * row['fraction']:.0f} %"
    return *case, f"{row['mean']:+.2f}", plain, wider, f"{row['p']:.3g}", f"{row['p_holm']:.3g}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.2f}"  # NaN: a share that was not fine-tuned


def _informative(subject: TrainedModel) -> list[Settings]:
    """The measures of a model that are studied, without the baselines."""
    return [settings for settings in subject.measures if settings.scorer.name not in BASELINES]


def _axes(subject: TrainedModel) -> tuple[str, str]:
    """The two measures of panel (a): the first, and the first of another scorer, or else of other options."""
    first, *others = _informative(subject)
    second = next((each for each in others if each.scorer.name != first.scorer.name), others[0])
    return measure_name(first.scorer), measure_name(second.scorer)


def _measured(subject: TrainedModel, paths: Paths, number: str) -> dict[str, pd.DataFrame]:
    """The tables of one model, read from its run folder, after they are computed where the run is not finished."""
    settings = subject.settings
    note(f"{number} {settings.model.title} on {settings.dataset.title}, seed {settings.seed}")
    jobs = subject.jobs(paths)
    identity: JsonObject = {"measures": [pipeline.score_identity(job) for job in jobs]}
    identity |= {"test_images": settings.recipe.test_images}
    identity |= {"draws": ablation.DRAWS, "fractions": list(ablation.FRACTIONS)}
    identity |= {"steps": probe.STEPS, "step_draws": ablation.TUNED_DRAWS}
    folder = RunFolder.of(paths.runs, "ablate", identity)
    run_once(folder, AblationRecord, lambda: _measure(jobs, paths, folder))
    about: JsonObject = {"dataset": settings.dataset.name, "model": settings.model.name, "seed": settings.seed}
    return {
        name: pd.read_csv(folder.path / f"{name}.csv", keep_default_na=False).assign(**about, run=folder.path.name)
        for name in (ABLATION, CURVES)
    }


def _measure(jobs: list[pipeline.Job], paths: Paths, folder: RunFolder) -> AblationRecord:
    model, values = measure_trained_model(jobs, paths)
    test = Probe.of(model, pipeline.evaluation_batches(jobs[0], "test"))
    training = Probe.of(model, pipeline.training_batches(jobs[0], "ablation", probe.STEPS, probe.STEP_CLIPS))
    write_csv(folder.path / f"{ABLATION}.csv", ablation.single(test, values))
    seed = jobs[0].settings.seed
    write_csv(folder.path / f"{CURVES}.csv", ablation.curves(test, values, seed, training=training))
    record = AblationRecord(
        hash=folder.path.name,
        identity=folder.identity,
        config=jobs[0].settings.plain,
        weights_sha256=jobs[0].weights.sha256,
        provenance=provenance(jobs[0].device, jobs[0].argv),
    )
    write_json(folder.path / MANIFEST, record.to_json())
    return record


def _chance(subject: TrainedModel) -> float:
    """The accuracy [%] of a random guess."""
    return 100 / len(subject.factory.job(subject.settings).data.outline.classes)


def _draw(planned: list[TrainedModel], tables: dict[str, pd.DataFrame], paths: Paths) -> None:
    up, across = _axes(planned[0])
    called = figure_titles(planned)
    chance = {subject.settings.dataset.name: _chance(subject) for subject in planned}
    units = tables[ABLATION]
    first = units[units.run == units.groupby("dataset").run.transform("first")]  # one model a panel
    draw_units(first, (up, across), called, paths.results / f"{ABLATION}.png")
    curves = tables[CURVES]
    for steps in curves.steps.unique().tolist():
        name = f"{CURVES}_{steps}_steps.png" if steps else f"{CURVES}.png"
        draw_curves(curves[curves.steps == steps], BASELINES, chance, called, paths.results / name)
