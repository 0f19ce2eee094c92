"""What the manifest of a finished run holds: of prune and train, of score, and of ablate.

Manifests of every version so far can be read: a field with a default has no key in the older ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prune_cli.common.plain import Identity, JsonObject, PlainConfig
from prune_cli.runs.json_fields import IF_KNOWN, LAST, JsonFields, part
from prune_cli.runs.manifest import Provenance
from prune_cli.runs.plan import RunPlan


@dataclass(frozen=True, kw_only=True)
class Stored(JsonFields):
    """What the record of any kind of run says of its files.

    files: the sha256 of each by its name; None in records older than these digests. packed: whether the run was packed
    without its weights. sha256: of the record itself, all that it says besides.
    """

    files: Mapping[str, str] | None = field(default=None, metadata=LAST)
    packed: bool | None = field(default=None, metadata=LAST)
    sha256: str | None = field(default=None, metadata=LAST)

    def digest(self, name: str) -> str | None:
        """The sha256 of a file of the run; None where the record does not say."""
        return (self.files or {}).get(name)


@dataclass(frozen=True, kw_only=True)
class ScoringCost(JsonFields):
    """What scoring for a mask took: images or clips, seconds and bytes at the highest point (0: not known).

    hash: the scoring run that the scores are from; None where they depend on the mask and are kept by no run: then
    rounds says how often was scored.
    """

    hash: str | None = field(default=None, metadata=IF_KNOWN)
    images: int
    seconds: float
    peak_memory_bytes: int
    rounds: int | None = field(default=None, metadata=IF_KNOWN)


@dataclass(frozen=True, kw_only=True)
class SparseLayers(JsonFields):
    """The pruned layers of a run that was trained with compute.sparse, by the names of their weights.

    products: by what those of the sparse ones were computed.
    """

    products: str
    sparse: list[str]
    dense: list[str]


@dataclass(frozen=True, kw_only=True)
class RunRecord(RunPlan, Stored):
    """A finished run of prune or train: its plan, how accurate it is, and how it was made.

    scoring: None where nothing was scored. accuracy_last, accuracy_best [%]: on the test set, of the last epoch and of
    the best one, which was chosen on the split best_chosen_on; validation_last, validation_best [%]: where there is a
    validation split. mask_digest: sha256 of the mask. images: of each split, by its name. input: the size, mean and std
    of the images that the model saw. weights_sha256: of the file that the run started from; None: random weights.
    processes: how many computed it together. seconds: of scoring and training. sparse_layers: None where all were dense.
    """

    scoring: ScoringCost | None = field(default=None, metadata=part(ScoringCost))
    accuracy_last: float
    accuracy_best: float
    best_epoch: int
    best_chosen_on: str
    validation_last: float | None = field(default=None, metadata=IF_KNOWN)
    validation_best: float | None = field(default=None, metadata=IF_KNOWN)
    config: PlainConfig
    mask_digest: str
    images: Mapping[str, int]
    input: Mapping[str, Any] | None = field(default=None, metadata=IF_KNOWN)
    data_digest: str
    weights_sha256: str | None
    provenance: Provenance = field(metadata=part(Provenance, inline=True))
    processes: int | None = field(default=None, metadata=IF_KNOWN)
    seconds: float | None = field(default=None, metadata=IF_KNOWN)
    sparse_layers: SparseLayers | None = field(default=None, metadata=part(SparseLayers, **IF_KNOWN))

    def to_json(self) -> JsonObject:
        """The fields by name; `scoring` is null where nothing was scored, and no key of a run that never scores."""
        found = super().to_json()
        if self.kind == "train":
            del found["scoring"]
        return found


@dataclass(frozen=True, kw_only=True)
class ScoreRecord(Stored):
    """A finished scoring run: by which scorer, over how many images or clips, and what that took (as ScoringCost)."""

    hash: str
    identity: Identity
    scorer: str
    images: int
    seconds: float
    peak_memory_bytes: int
    config: PlainConfig
    provenance: Provenance = field(metadata=part(Provenance, inline=True))

    @property
    def cost(self) -> ScoringCost:
        """The cost of this scoring, for the record of a run."""
        return ScoringCost(
            hash=self.hash, images=self.images, seconds=self.seconds, peak_memory_bytes=self.peak_memory_bytes
        )


@dataclass(frozen=True, kw_only=True)
class AblationRecord(Stored):
    """A model that was taken apart, unit by unit. weights_sha256: of the file of its weights; None: random weights."""

    hash: str
    identity: Identity
    config: PlainConfig
    weights_sha256: str | None
    provenance: Provenance = field(metadata=part(Provenance, inline=True))
