"""Checks, before any work starts, that the settings of a run fit together, and options that follow from others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from prune_cli.common.errors import RequestError
from prune_cli.config.schema import Scoring, Settings
from prune_cli.models.registry import ClipInput
from prune_cli.pipeline.outline import ModelOutline
from prune_cli.targets import target_of
from prune_cli.targets.units import VIDEO
from prune_cli.training.trackers import check_trackers


def implied(settings: Settings) -> dict[str, str]:
    """The options that follow from the settings where none is typed: group -> option; the target's recipe, if any."""
    recipe = target_of(settings).recipe if settings.sparsity.percent > 0 else None
    return {} if recipe is None else {"recipe": recipe}


def sees_clips(settings: Settings) -> bool:
    """Whether the model takes clips."""
    return isinstance(settings.model.input, ClipInput)


def check_fit(settings: Settings) -> None:
    """Raise RequestError where model, data, scorer, removal, control and recipe do not fit, or a tracker is missing."""
    check_trackers(settings.compute.trackers)
    frames = getattr(settings.dataset, "frames", None)
    _check_input(settings, frames)
    if settings.mask is None and settings.sparsity.percent > 0:
        _check_scorer(settings)
    if settings.mask is not None or settings.sparsity.percent > 0:
        sparsity = settings.sparsity
        target_of(settings).check_options(settings.control.control, sparsity.pattern, sparsity.scope)
    wanted = settings.scorer.frames
    if frames is not None and frames < wanted:
        what = f"clips of {frames} frames are too short: this lag and these histories need {wanted}"
        raise RequestError(what, "scorer.lag and histories", "smaller ones, or more dataset.frames")
    if settings.scorer.label_must_change and getattr(settings.dataset, "actions_per_clip", 2) == 1:
        what = "each clip has one label, so nothing can be told of its changes"
        raise RequestError(what, "scorer.source=label", "scorer.source=output, or dataset.actions_per_clip=2")


def check_effect(keys: Iterable[str], points: Sequence[Settings]) -> None:
    """Raise RequestError for a typed option that has no effect in any of the points, unless its default was typed."""
    found = [_idle(settings) for settings in points]
    for key in keys:
        if all(key in idle for idle in found) and not all(_at_default(settings, key) for settings in points):
            raise RequestError(f"{key} changes nothing: {found[0][key]}", key, f"leave {key} out")


def _idle(settings: Settings) -> dict[str, str]:
    """The options that have no effect beside the values of the others: dotted key -> reason."""
    scorer = settings.scorer
    idle = {f"recipe.{option}": reason for option, reason in settings.recipe.idle.items()}
    idle |= {f"scorer.{option}": reason for option, reason in scorer.idle.items()}
    of_scoring = [f"scoring.{option.name}" for option in fields(Scoring)]
    if not scorer.sees_data:
        idle |= dict.fromkeys(of_scoring, f"scorer={scorer.name} looks at no data")
    if settings.mask is None and settings.sparsity.percent == 0:
        of_scorer = [f"scorer.{option.name}" for option in fields(scorer)]
        idle |= dict.fromkeys([*of_scorer, *of_scoring], "nothing is scored, since nothing is removed")
        idle |= {"compute.sparse": "nothing is removed"}
    return idle


def _at_default(settings: Settings, key: str) -> bool:
    group, _, name = key.partition(".")
    part = getattr(settings, group)
    return any(option.name == name and option.default == getattr(part, name) for option in fields(part))


def check_processes(settings: Settings, outline: ModelOutline) -> None:
    """Raise RequestError for several processes and a model with BatchNorm, whose statistics would be those of a share."""
    if settings.compute.processes > 1 and outline.batch_norm:
        what = f"{settings.model.name} has BatchNorm, and each process would normalise its own share of a batch"
        raise RequestError(what, f"compute.processes={settings.compute.processes}", "compute.processes=1")


def _check_input(settings: Settings, frames: int | None) -> None:
    model, dataset, recipe = settings.model.name, settings.dataset.name, settings.recipe
    if sees_clips(settings) and frames is None:
        raise RequestError(f"{model} sees clips, and {dataset} has images", f"dataset={dataset}", VIDEO)
    if not sees_clips(settings) and frames is not None:
        raise RequestError(f"{dataset} has clips, and {model} sees images", f"model={model}", VIDEO)
    if sees_clips(settings) and recipe.horizontal_flip:
        raise RequestError(
            "a mirrored clip moves another way", "recipe.horizontal_flip", "recipe.horizontal_flip=false"
        )
    if sees_clips(settings) and recipe.cutmix_alpha:
        raise RequestError("CutMix mixes images, not clips", "recipe.cutmix_alpha", "recipe.cutmix_alpha=0")


def _check_scorer(settings: Settings) -> None:
    scorer, target = settings.scorer, target_of(settings)
    target.check_model(settings)
    if target.scored not in scorer.scores:
        what = f"{scorer.name} scores {' and '.join(scorer.scores)}, not {target.scored}"
        raise RequestError(what, f"removal={settings.removal.kind}", "removal=auto, or another scorer")
