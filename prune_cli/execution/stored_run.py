"""Open a finished run: its record, its job and its model with the stored weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prune_cli import pipeline
from prune_cli.common.errors import PruneCliError, RequestError
from prune_cli.common.lazy import nn
from prune_cli.common.plain import Identity
from prune_cli.common.registry import Registry
from prune_cli.config.compose import Composer
from prune_cli.config.schema import Settings
from prune_cli.masks import Mask
from prune_cli.masks import mask as mask_files
from prune_cli.masks.allocate import Sparsity
from prune_cli.models.registry import untrained
from prune_cli.models.weights import restore
from prune_cli.runs.artefacts import MANIFEST, MASK, MODEL
from prune_cli.runs.files import AGAIN, DamagedError
from prune_cli.runs.identity import sources
from prune_cli.runs.paths import Paths
from prune_cli.runs.record import RunRecord
from prune_cli.runs.store import find, part_of, run_record
from prune_cli.targets import Target, target_named


@dataclass(frozen=True)
class StoredRun:
    """A finished run with its folder, record and model. job: a job that needs none of the files the run started from."""

    folder: Path
    record: RunRecord
    job: pipeline.Job
    model: nn.Module

    @property
    def target(self) -> Target:
        """The target that was removed, from the record; weights for a dense run."""
        return target_named(self.record.target)


def open_run(run: str, paths: Paths) -> StoredRun:
    """Open a finished run, named by its folder or the start of its hash.

    Raises RequestError for an unknown run, one that stored no model, or one whose plug-in is missing or has changed,
    DamagedError where its record or its model is, PruneCliError where its data are others, its images would be prepared otherwise or the model holds a weight that its
    mask removed.
    """
    folder = find(paths.runs, run)
    record = run_record(folder)
    composer = pipeline.composer(paths)
    check_plugins(record.identity, folder)
    settings = _settings(composer, record, folder)
    job = pipeline.JobFactory(paths).job(_without_files(settings))
    if job.data_digest != record.data_digest:
        raise PruneCliError("the dataset is not the one of this run", settings.dataset.name, "build or fetch it again")
    if record.input not in (None, pipeline.input_of(job)):
        hint = f"timm {record.provenance.versions['timm']}, as the run had"
        raise PruneCliError("this timm prepares images otherwise than that of the run", str(folder), hint)
    pipeline.keep_data(job, paths)
    model, _ = pipeline.build_model(job)
    restore(model, part_of(folder, record, MODEL))
    _check_zeros(model, folder, record)
    return StoredRun(folder, record, job, model)


def _settings(composer: Composer, record: RunRecord, folder: Path) -> Settings:
    """What the record says of the run's options. Raises DamagedError where these are no options, ConfigError."""
    try:
        return composer.from_plain(record.config)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        what = f"this record's 'config' is of no run: {type(error).__name__}: {error}"
        raise DamagedError(what, str(folder / MANIFEST), AGAIN) from None


def mask_of(folder: Path, record: RunRecord) -> Mask:
    """The mask of a finished run, checked; a dense run has none. Raises as `part_of` does, and RequestError for no mask."""
    return {} if record.method == "dense" else mask_files.read(part_of(folder, record, MASK))


def check_plugins(identity: Identity, folder: Path) -> None:
    """Raise RequestError unless each part of the run that was a plug-in's is of the very file that is loaded now."""
    classes = {kind: registry.classes for kind, registry in Registry.all.items()}
    for kind, name, source in sources(identity):
        found = getattr(classes[kind].get(name), "source_sha256", None)
        if found != source:
            known = f"the {kind} {name!r}"
            what = f"the file of {known} has changed" if found else f"{known} of this run is of a plug-in"
            hint = f"--plugin FILE.py, the file whose sha256 begins with {source[:12]}"
            raise RequestError(what, str(folder), hint)


def _without_files(settings: Settings) -> Settings:
    """The settings without the files that the run started from: the stored model takes their place, and nothing is scored."""
    model = replace(settings.model, **untrained(settings.model))
    return replace(settings, model=model, mask=None, sparsity=Sparsity(0.0))


def _check_zeros(model: nn.Module, folder: Path, record: RunRecord) -> None:
    for name, keep in target_named(record.target).weight_mask(model, mask_of(folder, record)).items():
        if bool(model.get_parameter(name).detach().cpu()[~keep].any()):
            raise PruneCliError("a weight that the mask removed is not zero", f"{folder}: {name}", "run it again")
