"""Target: one kind of thing that can be removed from a model. One file a kind; registry.py is the door to all of them.

Tables know targets by their names, without torch: what needs it is imported inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from prune_cli.common.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_cli.config.schema import Settings
    from prune_cli.masks import Mask
    from prune_cli.masks.controls import Control

Prunable = Iterable[str]  # patterns over parameter names, as `model.prunable` has them


class Target(ABC):
    """What can be removed, how a mask of it becomes a mask of weights, and what fits it."""

    name: ClassVar[str]  # as `removal` and a run's record write it
    noun: ClassVar[str]  # what several of it are called
    title: ClassVar[str]  # the noun, and where there are several targets of that noun which one
    scored: ClassVar[str]  # what a scorer has to score for it, one of Scorer.scores
    automatic: ClassVar[bool] = False  # whether removal=auto may choose it
    single_weights: ClassVar[bool] = False  # whether one of it is one weight
    recipe: ClassVar[str | None] = None  # the recipe that is implied where none is typed
    no_smaller: ClassVar[str | None] = None  # why removal leaves no smaller model; None: it does

    @abstractmethod
    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """What can be removed, by name, in the shapes of its mask. Raises ConfigError where the model has none."""

    def to_score(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """What a scorer is handed: `parameters`, unless their scores follow from those of other tensors."""
        return self.parameters(model, prunable)

    def scores(self, model: nn.Module, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """The scores of `parameters`, from a scorer's scores of `to_score`; higher = keep."""
        return dict(scores)

    @abstractmethod
    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
        """The weights that stay, True, where what `mask` keeps stays."""

    @abstractmethod
    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:
        """The tensors in which removal sets zeros, by name: all of their weights where everything is removed."""

    def score_bytes(self, model: nn.Module, prunable: Prunable) -> int:
        """Bytes of what is scored; the model may be on the meta device."""
        return sum(p.numel() * p.element_size() for p in self.to_score(model, prunable).values())

    def shrink(self, model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the masked model without what `mask` removed, with the same outputs. Raises ConfigError."""
        raise NotImplementedError(self.no_smaller)

    def sizes(self, mask: Mapping[str, Tensor]) -> dict[str, object]:
        """What a smaller model has left, by name: the number of what stays, under its noun."""
        return {self.noun: sum(int(keep.sum()) for keep in mask.values())}

    def card(self, settings: Settings, classes: int) -> dict[str, object]:  # noqa: ARG002
        """What the .json beside a smaller model says more, for the model to be built again."""
        return {}

    def usage(self, model: str, mask: Mapping[str, Tensor], file: str) -> str:
        """How the smaller model in `file` is used again; model: the config name of the full one."""
        raise NotImplementedError(self.no_smaller)

    @property
    def suffix(self) -> str:
        """What a number of it is written with in tables; nothing where it counts weights."""
        return "" if self.single_weights else f" {self.noun}"

    @property
    def identity(self) -> dict[str, str]:
        """What the name of a run says of it."""
        return {} if self.single_weights else {"removal": self.name}

    @property
    def score_identity(self) -> dict[str, str]:
        """What the name of a scoring says of it: scores of weights serve every target that is scored by weights."""
        return {} if self.scored == "weights" else {"of": self.scored}

    def check_model(self, settings: Settings) -> None:  # noqa: B027 - nothing to refuse is the default
        """Raise RequestError where the settings alone tell that the model has nothing of it."""

    def check_options(self, control: Control, pattern: str | None, scope: str) -> None:
        """Raise RequestError for a control or an option of sparsity that means nothing for it."""
        from prune_cli.masks.controls import names

        if self.single_weights:
            return
        if control.of_single_weights:
            hint = f"control={', '.join(names(lambda other: not other.of_single_weights))}"
            what = f"{control.name} is about single weights, not {self.noun}"
            raise RequestError(what, f"control={control.name}", hint)
        if pattern is not None:
            what = f"a pattern is one of single weights, not {self.noun}"
            raise RequestError(what, "sparsity.pattern", "leave it out")
        if scope == "row":
            what = f"a {self.noun.removesuffix('s')} is no row of weights"
            raise RequestError(what, "sparsity.scope=row", "sparsity.scope=global")
