"""Job: one run with its settings, data and weights; JobFactory, which makes jobs; and the identities of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from prune_cli.common.command_line import typed_argv
from prune_cli.common.device import Compute
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import torch
from prune_cli.common.path_checks import expanded
from prune_cli.common.plain import Identity
from prune_cli.common.ranks import ALONE, Ranks, in_process_group
from prune_cli.config.compose import Composer, Parts
from prune_cli.config.schema import Scoring, Settings
from prune_cli.data.registry import Splits, datasets
from prune_cli.masks import mask as mask_files
from prune_cli.masks.allocate import Sparsity
from prune_cli.masks.controls import ControlChoice
from prune_cli.models import weights as weight_files
from prune_cli.models.registry import models
from prune_cli.models.sources import Weights, confirm, locate
from prune_cli.pipeline.job_data import JobData
from prune_cli.pipeline.outline import ModelOutline, model_outline
from prune_cli.pipeline.validation import check_fit, check_processes, implied
from prune_cli.plugins import catalogue
from prune_cli.runs.artefacts import MASK
from prune_cli.runs.files import is_file
from prune_cli.runs.identity import code_beside, versioned_options
from prune_cli.runs.paths import Paths
from prune_cli.scorers import scorers
from prune_cli.targets import Removal, Target, target_named, target_of
from prune_cli.training.recipe import Recipe


def composer(paths: Paths) -> Composer:
    """The composer that turns overrides into settings, with all registered classes, plug-ins too. Raises ConfigError."""
    choices = catalogue(paths)  # loads the plug-ins, which register their classes
    parts: Parts = {
        "model": models.classes,
        "dataset": datasets.classes,
        "scorer": scorers.classes,
        "sparsity": Sparsity,
        "removal": Removal,
        "control": ControlChoice,
        "recipe": Recipe,
        "compute": Compute,
    }
    return Composer(choices, parts, implied)


@dataclass(frozen=True)
class Job:
    """One run after validation: its settings, data, the location of its weights and the outline of its model.

    A job can be planned without images and torch; `prepare` is called when the work begins. argv: the typed command.
    ranks: the processes that compute the run together. here: whether it runs on this machine.
    """

    settings: Settings
    data: JobData
    weights: Weights
    outline: ModelOutline
    argv: tuple[str, ...] = ()
    ranks: Ranks = ALONE
    here: bool = True

    def prepare(self) -> Job:
        """Read the data, choose the device, set the number of threads, and verify cached facts of data and weights.

        Returns the job. Raises DataError, ConfigError, and PruneCliError where data or weights have changed.
        """
        _ = self.device, self.splits, self._confirmed
        return self

    @cached_property
    def _confirmed(self) -> bool:
        """True. Raises PruneCliError where the weights file is not the one in the run's identity."""
        confirm(self.weights)
        return True

    @cached_property
    def device(self) -> torch.device:
        """The device of this process; the first access sets the number of threads. Raises ConfigError."""
        return self.ranks.device(self.settings.compute.start()) if self.here else torch.device("cpu")

    @property
    def splits(self) -> Splits:
        """The images or clips, read at the first access. Raises DataError, PruneCliError (see JobData)."""
        return self.data.splits

    @property
    def data_digest(self) -> str:
        """The digest that stands for the data in the run's identity."""
        return self.data.outline.digest

    @property
    def mask_path(self) -> Path:
        """The path of the typed mask; only where `method` is `mask`."""
        return expanded(str(self.settings.mask))

    @property
    def target(self) -> Target:
        """What is removed; weights where nothing is."""
        return removed_target(self.settings)

    @property
    def scoring(self) -> Scoring:
        """The scoring options of the run's identity: the defaults where the scorer reads no data, and `batches` None where
        it equals the scorer's own number."""
        settings = self.settings
        if not settings.scorer.sees_data:
            return Scoring()
        as_wanted = settings.scoring.batches == settings.scorer.scoring_batches
        return replace(settings.scoring, batches=None) if as_wanted else settings.scoring

    @property
    def method(self) -> str:
        """The scorer's name; `dense` where nothing is removed, `mask` where the mask was made before."""
        return method_of(self.settings)


def method_of(settings: Settings) -> str:
    """The scorer's name; `dense` where nothing is removed, `mask` where the mask was made before."""
    if settings.mask is not None:
        return "mask"
    return settings.scorer.name if settings.sparsity.percent > 0 else "dense"


def removed_target(settings: Settings) -> Target:
    """What is removed; weights where nothing is."""
    return target_named("weights") if method_of(settings) == "dense" else target_of(settings)


class JobFactory:
    """Makes jobs; data, weights and outlines that several jobs share are found once."""

    def __init__(self, paths: Paths, fetch: bool = True, here: bool = True, argv: Sequence[str] | None = None):
        """fetch: whether to download weights from the hub. here: whether the jobs run on this machine, which then must
        have their device. argv: the typed command; None: that of this process.
        """
        self._paths, self._fetch, self._here = paths, fetch, here
        self._argv = typed_argv() if argv is None else tuple(argv)
        self._read: dict[str, Any] = {}

    def job(self, settings: Settings) -> Job:
        """The job of these settings; joins the process group of its run last. Raises RequestError before any work starts."""
        check_fit(settings)
        compute = settings.compute
        if self._here and not compute.runs_anywhere:
            compute.start()  # raises ConfigError
        data = self._cached(settings.dataset, partial(JobData, settings.dataset, self._paths.data))
        classes = len(data.outline.classes)
        if settings.mask is not None and not is_file(expanded(settings.mask)):
            raise RequestError("there is no such mask", settings.mask, f"mask=runs/prune/HASH/{MASK}")
        settings.control.control.check(settings.sparsity.pattern, scored=settings.mask is None)
        outline = self._outline(settings, classes)  # before weights are fetched that have nothing to remove
        weights = self._cached(
            (settings.model, settings.dataset.name), partial(locate, settings.model, self._fetch, settings.dataset.name)
        )
        weight_files.check(outline.state, weights)
        check_processes(settings, outline)
        ranks = Ranks.join(compute.processes, compute.start()) if in_process_group(compute.processes) else ALONE
        return Job(settings, data, weights, outline, self._argv, ranks, self._here)

    def _outline(self, settings: Settings, classes: int) -> ModelOutline:
        """The outline of the model, cached for all jobs that share it."""
        target = removed_target(settings)
        part = (settings.model, target.name, classes, settings.compute.precision)
        return self._cached(part, partial(model_outline, settings, target, classes))

    def _cached(self, part: Any, read: Any) -> Any:
        key = repr(part)
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]


def _base_identity(job: Job, compute: Compute | None = None) -> Identity:
    """The entries of every run's identity. compute: None: the job's own without `sparse`, which only pruned runs have."""
    settings = job.settings
    return {
        "model": versioned_options(settings.model) | {"weights": job.weights.sha256 or job.weights.name},
        "dataset": versioned_options(settings.dataset) | {"digest": job.data_digest},
        "compute": versioned_options(compute or replace(settings.compute, sparse="off")),
        "seed": settings.seed,
    }


def train_identity(job: Job) -> Identity:
    """The identity of a dense training run: all that changes its numbers."""
    return {**_base_identity(job), "recipe": versioned_options(job.settings.recipe)}


def score_identity(job: Job) -> Identity:
    """The identity of a scoring run: all that changes the scores. bf16 counts as fp32: scores use no autocast."""
    compute = job.settings.compute
    precision = "fp32" if compute.precision == "bf16" else compute.precision
    return {**_base_identity(job, replace(compute, precision=precision, sparse="off")), **_scoring_identity(job)}


def _scoring_identity(job: Job) -> Identity:
    """The entries of an identity for scoring: the scorer, its batches, and what it scores."""
    return {
        "scorer": versioned_options(job.settings.scorer),
        "scoring": versioned_options(job.scoring),
        **job.target.score_identity,
        **code_beside("removal", job.target),
    }


def prune_identity(job: Job) -> Identity:
    """The identity of a pruned and fine-tuned run: all that changes its numbers."""
    identity = {**train_identity(job), **job.target.identity}
    if job.method != "dense":
        identity |= {"compute": versioned_options(job.settings.compute)}
    if job.method != "dense" and job.settings.control != ControlChoice():
        identity |= {"control": job.settings.control.kind} | code_beside("control", job.settings.control.control)
    if job.method == "mask":
        identity |= code_beside("removal", job.target)
        return identity | {"mask": mask_files.digest(mask_files.read(job.mask_path))}
    if job.method == "dense":
        return identity | {"sparsity": {"percent": 0.0}}  # over what nothing is removed does not matter
    return {**identity, "sparsity": versioned_options(job.settings.sparsity), **_scoring_identity(job)}
