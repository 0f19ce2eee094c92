"""Target: one kind of thing that can be removed from a model. One file a kind, registered in registry.py.

Tables use the names of targets without torch, so methods that need torch import it themselves.
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
    """The base class of targets: what can be removed, how its mask becomes a mask of weights, and which options fit."""

    name: ClassVar[str]  # as `removal` and a run's record write it
    noun: ClassVar[str]  # the plural in messages and tables: weights, units, heads
    title: ClassVar[str]  # the noun in tables, with the name where several targets have one noun
    scored: ClassVar[str]  # what a scorer has to score for the target, one of Scorer.scores
    automatic: ClassVar[bool] = False  # whether removal=auto may choose the target
    single_weights: ClassVar[bool] = False  # whether the target is single weights
    recipe: ClassVar[str | None] = None  # the recipe that is implied where none is typed
    no_smaller: ClassVar[str | None] = None  # why `shrink` cannot make the model smaller; None: it can

    @abstractmethod
    def parameters(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """The parameters whose entries can be removed, by name, in the shapes of the mask. Raises ConfigError where there are none."""

    def to_score(self, model: nn.Module, prunable: Prunable) -> dict[str, nn.Parameter]:
        """The parameters that a scorer is called with; the default is `parameters`."""
        return self.parameters(model, prunable)

    def scores(self, model: nn.Module, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """The scores of `parameters`, computed from a scorer's scores of `to_score`; higher = keep."""
        return dict(scores)

    @abstractmethod
    def weight_mask(self, model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
        """The mask of weights, True = keep, that follows from a mask of this target."""

    @abstractmethod
    def zeroed(self, model: nn.Module, prunable: Prunable) -> Mapping[str, Tensor]:
        """The tensors in which removal sets zeros, by name."""

    def score_bytes(self, model: nn.Module, prunable: Prunable) -> int:
        """The size of the scores in bytes; the model may be on the meta device."""
        return sum(p.numel() * p.element_size() for p in self.to_score(model, prunable).values())

    def shrink(self, model: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the masked model without what `mask` removed, with the same outputs. Raises ConfigError."""
        raise NotImplementedError(self.no_smaller)

    def sizes(self, mask: Mapping[str, Tensor]) -> dict[str, object]:
        """The counts that describe a smaller model, by name; by default the number kept, under the noun."""
        return {self.noun: sum(int(keep.sum()) for keep in mask.values())}

    def card(self, settings: Settings, classes: int) -> dict[str, object]:  # noqa: ARG002
        """Further entries of the .json beside a smaller model, from which the model can be built again."""
        return {}

    def usage(self, model: str, mask: Mapping[str, Tensor], file: str) -> str:
        """The words or the call that use the smaller model in `file`. model: the config name of the full model."""
        raise NotImplementedError(self.no_smaller)

    @property
    def suffix(self) -> str:
        """The text that follows a count in tables: the noun, or nothing for single weights."""
        return "" if self.single_weights else f" {self.noun}"

    @property
    def identity(self) -> dict[str, str]:
        """The target's entry in the identity of a run; empty for single weights."""
        return {} if self.single_weights else {"removal": self.name}

    @property
    def score_identity(self) -> dict[str, str]:
        """The target's entry in the identity of a scoring; empty for all targets that are scored by weights."""
        return {} if self.scored == "weights" else {"of": self.scored}

    def check_model(self, settings: Settings) -> None:  # noqa: B027 - nothing to refuse is the default
        """Raise RequestError where the settings already show that the model has nothing of this kind."""

    def check_options(self, control: Control, pattern: str | None, scope: str) -> None:
        """Raise RequestError for a control or a sparsity option that is undefined for this target."""
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
