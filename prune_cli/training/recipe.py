"""A recipe: everything about fine-tuning that can change its result."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from prune_cli.common.errors import ConfigError
from prune_cli.common.plain import Options
from prune_cli.masks.survivors import ELEMENTWISE, elementwise

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler

EVALUATED = ("epochs", "smoke", "test_images")  # the options that count where nothing is trained

logging.getLogger("timm.scheduler").setLevel(logging.ERROR)  # it warns of a schedule of one epoch, which smoke has


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned. Learning rates follow timm's cosine schedule, stepped once an epoch.

    Raises ConfigError for a value out of range or an optimiser that cannot hold survivors alone.
    """

    epochs: int  # 0: nothing is trained, the model is evaluated as it is
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 1e-3  # reached at the end of the warm-up
    min_lr: float = 0.0  # approached at the end
    warmup_epochs: int = 0  # fewer than epochs; see `complete`
    warmup_lr: float = 0.0  # in the first epoch
    weight_decay: float = 0.0
    momentum: float | None = None  # for the optimisers that have one; None leaves torch's own default
    label_smoothing: float = 0.0
    cutmix_alpha: float = 0.0  # of the Beta distribution of the rectangle's share; 0: no CutMix
    cutmix_prob: float = 1.0  # share of the batches that are mixed
    horizontal_flip: bool = False
    clip_norm: float | None = None  # largest norm of all gradients together
    accumulation: int = (
        1  # parts that a batch is computed in, for less memory; the step is that of the whole batch, but for BatchNorm
    )
    ema_decay: float | None = None  # of a moving average of the weights, which is then evaluated and kept; None: off
    smoke: bool = False  # marks a run whose figures mean nothing
    train_batches: int | None = None  # batches an epoch at most
    test_images: int | None = None  # images evaluated at most, of each split

    def __post_init__(self) -> None:
        self._check_optimizer()
        least = {
            "epochs": 0,
            "batch_size": 1,
            "lr": 0,
            "min_lr": 0,
            "warmup_epochs": 0,
            "warmup_lr": 0,
            "weight_decay": 0,
            "cutmix_alpha": 0,
            "accumulation": 1,
        }
        optional = {"momentum": 0, "clip_norm": 0, "train_batches": 1, "test_images": 1}
        for name, low in (least | optional).items():
            value = getattr(self, name)
            if value is not None and not low <= value < float("inf"):
                hint = f"recipe.{name}={low or getattr(Recipe, name, None) or 1}"
                raise ConfigError(f"recipe.{name} must be {low} or more, not {value}", f"recipe.{name}", hint)
        for name in ("label_smoothing", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                hint = f"recipe.{name}={'null' if name == 'ema_decay' else 0}"
                raise ConfigError(f"recipe.{name} lies in [0, 1), not {value}", f"recipe.{name}", hint)
        if self.cutmix_alpha > 0 and self.batch_size < 2:
            raise ConfigError("CutMix mixes two images or more", "recipe.batch_size=1", "recipe.batch_size=2")
        if not 0 <= self.cutmix_prob <= 1:
            what = f"recipe.cutmix_prob lies in [0, 1], not {self.cutmix_prob}"
            raise ConfigError(what, "recipe.cutmix_prob", "recipe.cutmix_prob=1")
        if 0 < self.epochs <= self.warmup_epochs:
            what = f"a warm-up of {self.warmup_epochs} epochs leaves none of the {self.epochs} to train"
            raise ConfigError(what, "recipe.warmup_epochs", f"recipe.warmup_epochs={self.epochs - 1}, or fewer")

    @staticmethod
    def complete(options: Options, typed: Collection[str]) -> Options:
        """The options with the warm-up of a recipe's file cut short where the typed epochs leave no room for it."""
        epochs, warmup = options["epochs"], options["warmup_epochs"]
        shortened = "warmup_epochs" not in typed and "epochs" in typed and 0 < epochs <= warmup
        return options | {"warmup_epochs": epochs - 1} if shortened else options

    def _check_optimizer(self) -> None:
        known = ELEMENTWISE[elementwise(self.optimizer)]
        for name, used in (("momentum", self.momentum is not None), ("weight_decay", self.weight_decay > 0)):
            if used and name not in known:
                raise ConfigError(f"{self.optimizer} has no {name}", f"recipe.{name}", f"leave recipe.{name} out")

    @property
    def canonical(self) -> Recipe:
        """The recipe that the run's hash is made from: options without effect are at their defaults, and without epochs it
        is recipe=none."""
        if not self.epochs:
            return Recipe(epochs=0, min_lr=1e-5, smoke=self.smoke, test_images=self.test_images)
        used = self if self.cutmix_alpha else replace(self, cutmix_prob=1.0)
        return used if self.warmup_epochs else replace(used, warmup_lr=0.0)

    @property
    def idle(self) -> dict[str, str]:
        """The options that have no effect beside the values of the others: option -> reason."""
        if not self.epochs:
            names = [option.name for option in fields(self) if option.name not in EVALUATED]
            return dict.fromkeys(names, "nothing is trained with recipe.epochs=0")
        of_mixing = {"cutmix_prob": "no batch is mixed with recipe.cutmix_alpha=0"}
        of_warmup = {"warmup_lr": "there is no warm-up with recipe.warmup_epochs=0"}
        return ({} if self.cutmix_alpha else of_mixing) | ({} if self.warmup_epochs else of_warmup)

    def optimizer_options(self) -> dict[str, float]:
        """The arguments of the torch optimiser without weight_decay."""
        options = {"lr": self.lr, "momentum": self.momentum}
        return {name: value for name, value in options.items() if value is not None}

    def learning_rates(self, optimizer) -> CosineLRScheduler:  # type: ignore[no-untyped-def]
        """timm's cosine schedule over the epochs, which sets the rate of the first epoch at once."""
        from timm.scheduler import CosineLRScheduler

        return CosineLRScheduler(
            optimizer,
            t_initial=self.epochs,
            lr_min=self.min_lr,
            warmup_t=self.warmup_epochs,
            warmup_lr_init=self.warmup_lr,
            warmup_prefix=True,
        )
