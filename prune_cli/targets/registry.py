"""The registry of targets, and the config group `removal`, which chooses a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError, RequestError, nearest
from prune_cli.common.registry import Registry
from prune_cli.targets.base import Target

if TYPE_CHECKING:
    from prune_cli.config.schema import Settings

AUTO = "auto"
targets: Registry[Target] = Registry("target", "prune_cli.targets")


def kinds() -> list[str]:
    """The values of `removal.kind`: auto, and the names of the targets."""
    return [AUTO, *targets.classes]


@dataclass(frozen=True)
class Removal:
    """kind: the name of a target, or auto: what the scorer scores."""

    kind: str = AUTO

    def __post_init__(self) -> None:
        if self.kind not in kinds():
            raise ConfigError(
                f"there is no removal {self.kind!r}", "removal.kind", nearest(self.kind, kinds(), "removal.kind=")
            )


def target_of(settings: Settings) -> Target:
    """The target of these settings.

    removal=auto takes the first target that the scorer can score and the model has, groups of weights before single
    weights; where the model has none of them, the first. Raises RequestError where no target fits the scorer.
    """
    if settings.removal.kind != AUTO:
        return targets.build(settings.removal.kind)
    scorer, all_targets = settings.scorer, [targets.build(name) for name in targets.classes]
    able = [target for target in all_targets if target.automatic and target.scored in scorer.scores]
    if not able:
        what = f"nothing that {scorer.name} scores can be removed: {', '.join(scorer.scores)}"
        raise RequestError(what, f"scorer={scorer.name}", "another scorer, or removal=KIND")
    able.sort(key=lambda target: target.single_weights)
    return next((target for target in able if _has_target(target, settings)), able[0])


def target_named(name: str) -> Target:
    """The target registered under this name, as a run's record has it."""
    return targets.build(name)


def _has_target(target: Target, settings: Settings) -> bool:
    try:
        target.check_model(settings)
    except RequestError:
        return False
    return True
