"""`prune-cli dynamics`: finite-time and asymptotic Lyapunov exponents of an LSTM as units are removed."""

from __future__ import annotations

from collections.abc import Iterator

from prune_cli import masks, pipeline
from prune_cli.analysis import ablation
from prune_cli.analysis.exponents import exponents, features, one_thread
from prune_cli.analysis.probe import Probe
from prune_cli.common.lazy import Tensor, nn, pd, torch
from prune_cli.common.plain import Row
from prune_cli.common.terminal import note, print_table
from prune_cli.execution.trained_models import TrainedModel, figure_titles, measure_trained_model
from prune_cli.report.dynamics_figure import draw_dynamics
from prune_cli.runs.artefacts import DYNAMICS_FIGURE, DYNAMICS_TABLE
from prune_cli.runs.files import write_csv
from prune_cli.runs.paths import Paths
from prune_cli.units.removal import units

DRAWS = 1  # random orders: each takes as long as a measure
SHOWN = (0.0, 0.3, 0.5, 0.7, 0.9)  # shares removed that are printed
EXPONENTS = {"FTLE": "ftle", "λ frozen": "lyapunov_frozen", "λ looped": "lyapunov_looped"}  # title: column
READING = (
    "FTLE: finite-time exponent along a clip, growth for a while; above 0 it is no evidence of chaos",
    "λ: in the long run, the last frame frozen or the clip looped; drifting and chaotic: shares of these trajectories",
    "drifting: no attractor is reached; chaotic: bounded, never where it was, and λ above 0 with its 95 % interval over time",
)


def dynamics(planned: list[TrainedModel], paths: Paths) -> pd.DataFrame:
    """Measure each model with more and more of its units removed; write dynamics.csv and dynamics.png."""
    table = pd.DataFrame([row for subject in planned for row in _rows(subject, paths)])
    write_csv(paths.results / DYNAMICS_TABLE, table)
    draw_dynamics(table, figure_titles(planned), paths.results / DYNAMICS_FIGURE)
    return table


def show_dynamics(table: pd.DataFrame, paths: Paths) -> None:
    """Print the exponents and the accuracy at some shares removed, and how to read them."""
    columns = ("dataset", "seed", "measure", "keep", "removed", *EXPONENTS, "drifting", "chaotic", "accuracy [%]")
    rows = [_shown(row) for _, row in table[table.fraction.isin(SHOWN)].astype(object).iterrows()]
    print_table("Largest Lyapunov exponents [nats a frame], mean ± standard deviation over clips", columns, rows)
    for line in READING:
        note(line)
    note(f"written: {paths.results / DYNAMICS_TABLE}, {DYNAMICS_FIGURE}")


def _rows(subject: TrainedModel, paths: Paths) -> Iterator[Row]:
    jobs = subject.jobs(paths)
    settings = jobs[0].settings
    note(f"{settings.model.title} on {settings.dataset.title}, seed {settings.seed}")
    model, values = measure_trained_model(jobs, paths)
    about = {"dataset": settings.dataset.name, "model": settings.model.name, "seed": settings.seed}
    probe = Probe.of(model, pipeline.evaluation_batches(jobs[0], "test"))
    x_BTI = features(model, _clips(jobs[0]))
    dense = _measured(model, probe, x_BTI, torch.ones(probe.units, dtype=torch.bool, device=probe.gates_NTG.device))
    for measure, keep, draw, scores in ablation.orders(values, probe.units, settings.seed, DRAWS):
        for fraction in ablation.FRACTIONS:
            stay = masks.select({"": scores}, fraction)[""].to(probe.gates_NTG.device)
            if not bool(stay.any()):
                continue  # nothing is left to follow
            row = {"measure": measure, "keep": keep, "draw": draw, "fraction": fraction}
            found = dense if bool(stay.all()) else _measured(model, probe, x_BTI, stay)
            yield about | row | {"removed": int((~stay).sum())} | found


def _measured(model: nn.Module, probe: Probe, x_BTI: Tensor, stay_U: Tensor) -> dict[str, float]:
    with one_thread():
        found = exponents(model, x_BTI, dict.fromkeys(units(model), stay_U))
    return found.row() | {"accuracy": probe.accuracy(stay_U, "recurrence")}


def _clips(job: pipeline.Job) -> Tensor:
    """The first batch of test clips."""
    return next(iter(pipeline.evaluation_batches(job, "test")))[0]


def _shown(row: pd.Series) -> tuple[str, ...]:
    return (
        row["dataset"],
        str(row["seed"]),
        row["measure"],
        row["keep"],
        f"{100 * row['fraction']:.0f} %",
        *(f"{row[name]:+.4f} ± {row[f'{name}_std']:.4f}" for name in EXPONENTS.values()),
        *(
            f"{100 * row[f'frozen_{fate}']:.0f}, {100 * row[f'looped_{fate}']:.0f} %"
            for fate in ("drifting", "chaotic")
        ),
        f"{row['accuracy']:.2f}",
    )
