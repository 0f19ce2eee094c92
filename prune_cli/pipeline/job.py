"""A job: one run with its settings, its data and its weights at hand, and what such a run is called."""

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
    """The door from overrides to settings, with every part of the program behind it, plug-ins too. Raises ConfigError."""
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
    """One run, checked: its settings, its data, where its weights are and its model in outline.

    Neither data nor torch is needed before the work begins, and then `prepare` is called. argv: the command that was typed for
    it. ranks: the processes that share it. here: it runs on this machine.
    """

    settings: Settings
    data: JobData
    weights: Weights
    outline: ModelOutline
    argv: tuple[str, ...] = ()
    ranks: Ranks = ALONE
    here: bool = True

    def prepare(self) -> Job:
        """Read the data, choose the device and set the number of threads, and check that what was kept of data and weights is
        so. Raises DataError, ConfigError, and PruneCliError where it is not. Returns the job."""
        _ = self.device, self.splits, self._confirmed
        return self

    @cached_property
    def _confirmed(self) -> bool:
        """Raises PruneCliError where the file of weights is another than the run's identity says."""
        confirm(self.weights)
        return True

    @cached_property
    def device(self) -> torch.device:
        """Where this process computes; the first to ask sets the number of threads. Raises ConfigError."""
        return self.ranks.device(self.settings.compute.start()) if self.here else torch.device("cpu")

    @property
    def splits(self) -> Splits:
        """The images or clips, read when first asked for. Raises DataError, PruneCliError (see JobData)."""
        return self.data.splits

    @property
    def data_digest(self) -> str:
        """What the run's identity knows of the data."""
        return self.data.outline.digest

    @property
    def mask_path(self) -> Path:
        """The mask made before; only where method is `mask`."""
        return expanded(str(self.settings.mask))

    @property
    def target(self) -> Target:
        """What is removed; weights where nothing is."""
        return removed_target(self.settings)

    @property
    def scoring(self) -> Scoring:
        """What is scored on: the default where the scorer sees no data; `batches` open where it wants as many anyway."""
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
    """Makes jobs. Data and weights that several runs share are read once."""

    def __init__(self, paths: Paths, fetch: bool = True, here: bool = True, argv: Sequence[str] | None = None):
        """fetch: weights that are not here. here: the jobs run on this machine, so it must have their device.

        argv: the command that was typed; None: this process's own.
        """
        self._paths, self._fetch, self._here = paths, fetch, here
        self._argv = typed_argv() if argv is None else tuple(argv)
        self._read: dict[str, Any] = {}

    def job(self, settings: Settings) -> Job:
        """Find everything that the run needs, last of all its other processes. Raises RequestError before any work starts."""
        check_fit(settings)
        compute = settings.compute
        if self._here and not compute.runs_anywhere:
            compute.start()  # raises ConfigError
        data = self._once(settings.dataset, partial(JobData, settings.dataset, self._paths.data))
        classes = len(data.outline.classes)
        if settings.mask is not None and not is_file(expanded(settings.mask)):
            raise RequestError("there is no such mask", settings.mask, f"mask=runs/prune/HASH/{MASK}")
        settings.control.control.check(settings.sparsity.pattern, scored=settings.mask is None)
        outline = self._outline(settings, classes)  # before weights are fetched that have nothing to remove
        weights = self._once(
            (settings.model, settings.dataset.name), partial(locate, settings.model, self._fetch, settings.dataset.name)
        )
        weight_files.check(outline.state, weights)
        check_processes(settings, outline)
        ranks = Ranks.join(compute.processes, compute.start()) if in_process_group(compute.processes) else ALONE
        return Job(settings, data, weights, outline, self._argv, ranks, self._here)

    def _outline(self, settings: Settings, classes: int) -> ModelOutline:
        """The outline of the model, made once for all jobs that share it."""
        target = removed_target(settings)
        part = (settings.model, target.name, classes, settings.compute.precision)
        return self._once(part, partial(model_outline, settings, target, classes))

    def _once(self, part: Any, read: Any) -> Any:
        key = repr(part)
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]


def _base_identity(job: Job, compute: Compute | None = None) -> Identity:
    """What every run's name has. compute: None: the job's own, without sparse layers, which only what is pruned has."""
    settings = job.settings
    return {
        "model": versioned_options(settings.model) | {"weights": job.weights.sha256 or job.weights.name},
        "dataset": versioned_options(settings.dataset) | {"digest": job.data_digest},
        "compute": versioned_options(compute or replace(settings.compute, sparse="off")),
        "seed": settings.seed,
    }


def train_identity(job: Job) -> Identity:
    """What changes the numbers of a dense training run."""
    return {**_base_identity(job), "recipe": versioned_options(job.settings.recipe)}


def score_identity(job: Job) -> Identity:
    """What changes the scores. Autocast to bf16 does not: it is of training and evaluation."""
    compute = job.settings.compute
    precision = "fp32" if compute.precision == "bf16" else compute.precision
    return {**_base_identity(job, replace(compute, precision=precision, sparse="off")), **_scores(job)}


def _scores(job: Job) -> Identity:
    """What is scored, by which scorer and on which data."""
    return {
        "scorer": versioned_options(job.settings.scorer),
        "scoring": versioned_options(job.scoring),
        **job.target.score_identity,
        **code_beside("removal", job.target),
    }


def prune_identity(job: Job) -> Identity:
    """What changes the numbers of a pruned and fine-tuned run."""
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
    return {**identity, "sparsity": versioned_options(job.settings.sparsity), **_scores(job)}
