"""The scores of a job and their record: computed once, and stored for all runs that select from them."""

from __future__ import annotations

import time

from prune_cli.common.device import device_for_float64, peak_memory
from prune_cli.common.lazy import nn, pd
from prune_cli.common.terminal import note
from prune_cli.masks.allocate import check_no_nan
from prune_cli.pipeline.batches import scoring_batches
from prune_cli.pipeline.job import Job, score_identity
from prune_cli.runs.artefacts import LAYERS, SCORES, UNITS
from prune_cli.runs.files import read_tensors, write_csv, write_tensors
from prune_cli.runs.manifest import provenance
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import ScoreRecord
from prune_cli.runs.store import RunFolder, write_record
from prune_cli.scorers import Batches, Parameters, Scorer, Scores
from prune_cli.scorers.base import check_scores
from prune_cli.scorers.quantiles import quantile_row
from prune_cli.scorers.snip_magnitude import sum_terms
from prune_cli.scorers.unit_scorer import ranked


def find_scores(job: Job, model: nn.Module, paths: Paths) -> tuple[Scores, ScoreRecord]:
    """The scores of `target.to_score` and their record, read from a finished scoring run of equal identity if there is one."""
    folder = RunFolder.of(paths.runs, "score", score_identity(job))
    parameters = job.target.to_score(model, job.settings.model.prunable)
    with folder.claimed(wait=True):
        record = folder.record(ScoreRecord)
        if record is None:
            record = _score(job, model, parameters, folder)
        else:
            note(f"scores taken from {folder.path}")
        scores = read_tensors(folder.path / SCORES, record.digest(SCORES))
        device = device_for_float64(job.device)  # SynFlow's are of that type
        ordered = {name: scores[name].to(device) for name in parameters}  # the model's order breaks ties
        return ordered, record


def _score(job: Job, model: nn.Module, parameters: Parameters, folder: RunFolder) -> ScoreRecord:
    batches = scoring_batches(job)
    of_units = job.settings.scorer.measures_units
    name, measure = (UNITS, _measure_units) if of_units else (LAYERS, _scores_with_quantiles)
    scores, table, seconds = measure(job.settings.scorer, model, batches, parameters)
    check_scores(scores, parameters)
    check_no_nan(scores)
    record = ScoreRecord(
        hash=folder.path.name,
        identity=folder.identity,
        scorer=job.settings.scorer.name,
        images=batches.images,
        seconds=seconds,
        peak_memory_bytes=peak_memory(job.device),
        config=job.settings.plain,
        provenance=provenance(job.device, job.argv),
    )
    write_tensors(folder.path / SCORES, scores)
    write_csv(folder.path / name, table)
    return write_record(folder.path, record)


def _scores_with_quantiles(
    scorer: Scorer, model: nn.Module, batches: Batches, parameters: Parameters
) -> tuple[Scores, pd.DataFrame, float]:
    """The scores, a table of the quantiles of their terms (a row a tensor), and the seconds that the scorer took."""
    scores, rows, aside, start = {}, [], 0.0, time.perf_counter()
    for name, terms in scorer.terms(model, batches, parameters):
        paused = time.perf_counter()
        rows.append(quantile_row(name, terms))
        aside += time.perf_counter() - paused
        scores[name] = sum_terms(terms)
    return scores, pd.DataFrame(rows), time.perf_counter() - start - aside


def _measure_units(
    scorer: Scorer, model: nn.Module, batches: Batches, parameters: Parameters
) -> tuple[Scores, pd.DataFrame, float]:
    """The scores of units, a table of their measurements (a row a unit), and the seconds that the scorer took."""
    start = time.perf_counter()
    measured = scorer.measures(model, batches, parameters)
    scores, seconds = ranked(measured, scorer.keep), time.perf_counter() - start
    rows = [
        pd.DataFrame({"layer": name, **{of: t.cpu().numpy() for of, t in m.items()}}) for name, m in measured.items()
    ]
    return scores, pd.concat(rows).rename_axis("unit").reset_index(), seconds
