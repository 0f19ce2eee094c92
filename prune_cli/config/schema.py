"""The settings of one run, typed and complete, as every other room reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prune_cli.common.errors import ConfigError
from prune_cli.common.plain import PlainConfig
from prune_cli.common.registry import NOT_IN_HASH

if TYPE_CHECKING:  # the parts are of rooms above, which config must not import when it runs
    from prune_cli.common.device import Compute
    from prune_cli.data.registry import Dataset
    from prune_cli.masks.allocate import Sparsity
    from prune_cli.masks.controls import ControlChoice
    from prune_cli.models.registry import Model
    from prune_cli.scorers import Scorer
    from prune_cli.targets import Removal
    from prune_cli.training.recipe import Recipe

SWEEPABLE = (
    "model",
    "dataset",
    "scorer",
    "sparsity",
    "removal",
    "control",
    "recipe",
    "compute",
)  # groups that hold a part of the program
GROUPS = (*SWEEPABLE, "experiment")


@dataclass(frozen=True)
class Scoring:
    """The data that scores are measured on: `batches` shuffled training batches of `batch_size` images; None: as many as
    the scorer wants.

    micro_batch: images that are computed together, for less memory; the scores are the same to rounding.
    """

    batches: int | None = None
    batch_size: int = 128
    micro_batch: int | None = field(default=None, metadata=NOT_IN_HASH)

    def __post_init__(self) -> None:
        for name in ("batches", "batch_size", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                hint = f"scoring.{name}={getattr(Scoring, name) or 1}"
                raise ConfigError(f"scoring.{name} must be 1 or more, not {value}", f"scoring.{name}", hint)


@dataclass(frozen=True)
class Settings:
    """One run: an option dataclass for each group, and what stands outside the groups.

    plain holds the same values as nested dicts, in the order of the config files: it is what config.yaml shows.
    """

    model: Model
    dataset: Dataset
    scorer: Scorer
    sparsity: Sparsity
    removal: Removal
    control: ControlChoice
    recipe: Recipe
    compute: Compute
    scoring: Scoring
    seed: int
    mask: str | None
    plain: PlainConfig = field(repr=False)


@dataclass
class TopLevel:
    """What stands outside the groups, for the type check of the composed config."""

    seed: int = 0
    mask: str | None = None
    scoring: Scoring = field(default_factory=Scoring)


@dataclass(frozen=True)
class Point:
    """One choice of options: group -> option, and dotted key -> value."""

    choices: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: Point) -> Point:
        return Point(self.choices | other.choices, self.values | other.values)
