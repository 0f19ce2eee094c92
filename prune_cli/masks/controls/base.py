"""Control: an ablation of a pruning method that shows what its result rests on. One file a control.

From Frankle et al., "Pruning neural networks at initialization: why are we missing the mark?", 2021 (arXiv 2009.08576):
a method whose accuracy survives `shuffle` has found how many weights each layer needs, not which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from prune_cli.common.errors import ConfigError, RequestError, nearest
from prune_cli.common.lazy import Tensor, nn
from prune_cli.common.registry import Registry
from prune_cli.masks.mask import Mask

NONE = "none"
NEVER = float("-inf")  # the score of a weight that an earlier round of a scorer removed


class Control:
    """The base class of controls: a control overrides `scores`, `mask` or `weights`; the defaults change nothing."""

    name: ClassVar[str]
    moves: ClassVar[bool] = False  # whether other positions inside a tensor are kept than the method chose
    of_single_weights: ClassVar[bool] = False  # whether the control is undefined for units, heads and other groups
    no_scores: ClassVar[str | None] = None  # why the control cannot act on a mask made before; None: it can

    def scores(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The scores to select from in place of these; the default is the scores themselves."""
        return dict(scores)

    def mask(self, mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor], seed: int) -> Mask:  # noqa: ARG002
        """The mask to use in place of `mask`, with equal counts in every tensor. parameters: the masked tensors by name."""
        return dict(mask)

    def weights(self, parameters: Mapping[str, nn.Parameter], fresh: Callable[[], Mapping[str, nn.Parameter]]) -> None:
        """Change the prunable weights in place, before any is removed. fresh: draws them from the initialisation."""

    def check(self, pattern: str | None, scored: bool) -> None:
        """Raise RequestError where the control does not fit the N:M pattern, or needs scores and `scored` is False."""
        if not scored and self.no_scores is not None:
            raise RequestError(self.no_scores, f"control={self.name}", "leave mask out")
        if pattern is not None and self.moves:
            *first, last = names(lambda control: not control.moves)
            hint = f"control={', '.join(first)} or {last}"
            raise RequestError(f"{self.name} would not keep {pattern}", "sparsity.pattern", hint)


controls: Registry[Control] = Registry("control", "prune_cli.masks.controls")


def names(wanted: Callable[[type[Control]], bool] = lambda _: True) -> list[str]:
    """The names of the controls for which `wanted` holds, `none` first."""
    return sorted((name for name, cls in controls.classes.items() if wanted(cls)), key=lambda name: name != NONE)


@dataclass(frozen=True)
class ControlChoice:
    """kind: the name of a control."""

    kind: str = NONE

    def __post_init__(self) -> None:
        if self.kind not in names():
            raise ConfigError(
                f"there is no control {self.kind!r}", "control.kind", nearest(self.kind, names(), "control.kind=")
            )

    @property
    def control(self) -> Control:
        """The control registered as `kind`."""
        return controls.build(self.kind)
