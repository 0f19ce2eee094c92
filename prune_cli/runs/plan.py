"""What is known of a run before it has run: what a plan shows, what tables wait for, and how its record begins."""

from __future__ import annotations

from dataclasses import dataclass, field

from prune_cli.common.plain import Identity
from prune_cli.runs.json_fields import IF_KNOWN, JsonFields


@dataclass(frozen=True, kw_only=True)
class RunPlan(JsonFields):
    """One run of prune or train.

    hash: what its folder is called; of identity. smoke: its figures mean nothing. model, dataset, method: config names;
    method is `dense` where nothing is removed and `mask` where the mask was made before. weights: where the model's come
    from. removal: the name of its target; None in plans older than targets, which remove weights. sparsity [%]: the share
    removed of what is prunable. prunable, kept: numbers of what the target removes. parameters: of the model, in all.
    """

    hash: str
    identity: Identity
    smoke: bool
    model: str
    model_title: str
    weights: str
    dataset: str
    dataset_title: str
    method: str
    method_title: str
    removal: str | None = field(default=None, metadata=IF_KNOWN)
    sparsity: float
    seed: int
    prunable: int
    kept: int
    parameters: int

    @property
    def kind(self) -> str:
        """prune or train."""
        return self.identity["kind"]

    @property
    def title(self) -> str:
        """The run in a few words, for tables and notes."""
        method = "dense" if self.method == "dense" else f"{self.method_title}, {self.sparsity:g} %"
        return f"{self.model_title} on {self.dataset_title}, {method}, seed {self.seed}"

    @property
    def target(self) -> str:
        """The name of the target; `weights` where nothing is removed."""
        return self.removal or "weights"
