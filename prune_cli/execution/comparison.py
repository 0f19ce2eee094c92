"""What is measured of both sides of a finished run, dense against pruned, and of peers that compute the dense model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prune_cli.analysis.multiply_adds import multiply_adds
from prune_cli.analysis.timing import Measurement, counted, in_turn, timed
from prune_cli.common.errors import PruneCliError
from prune_cli.common.lazy import nn
from prune_cli.common.terminal import note
from prune_cli.execution.pruned_model import (
    DENSE,
    PRUNED,
    Side,
    batch_of,
    inference,
    memory_of,
    pruned_side,
    slower_sparse,
    training,
    weight_mask,
)
from prune_cli.execution.stored_run import StoredRun
from prune_cli.runs.artefacts import MODEL
from prune_cli.runs.paths import Paths

NEAR = {"fp32": 1e-3, "bf16": 5e-2, "fp64": 1e-9}  # of the largest logit: how far the sides may be apart, by precision


def difference_of(found: StoredRun, size: int) -> float:
    """The largest difference between the logits of both sides, as a share of the largest. Raises PruneCliError."""
    x, side = batch_of(found, size)[0], pruned_side(found, slower_sparse(found, size))
    dense, pruned = (inference(found, model.eval(), x)().double() for model in (found.model, side.model))
    share = float((dense - pruned).abs().max() / dense.abs().max().clamp_min(1e-30))
    if not share <= NEAR[found.job.settings.compute.precision]:
        what = f"the pruned model answers otherwise than the dense one, by {share:.2g} of the largest logit"
        raise PruneCliError(what, str(found.folder), f"prune-cli evaluate {found.folder}")
    return share


def file_sizes(found: StoredRun) -> list[Measurement]:
    """Bytes of the dense model in float32, and of the pruned one: the run's file, or the tensors of the smaller model."""
    smaller = None if found.target.single_weights else pruned_side(found, []).model
    pruned = (found.folder / MODEL).stat().st_size if smaller is None else _bytes(smaller)
    return counted("model file", "bytes", {DENSE: _bytes(found.model), PRUNED: pruned})


def _bytes(model: nn.Module) -> int:
    """Of all tensors, in float32."""
    state = model.state_dict().values()
    return sum(t.numel() * (4 if t.is_floating_point() else t.element_size()) for t in state)


def counts(found: StoredRun) -> list[Measurement]:
    """Multiply-adds of a forward pass of one image or clip."""
    x, weights = batch_of(found, 1)[0], found.target.single_weights
    model, mask = (found.model, weight_mask(found)) if weights else (pruned_side(found, []).model, {})
    values = {DENSE: multiply_adds(found.model, x), PRUNED: multiply_adds(model, x, mask)}
    return counted("multiply-adds", "multiply-adds", values, batch=1)


def memory(found: StoredRun, paths: Paths) -> list[Measurement]:
    """The peak of a process of its own for each side, at the run's own batch."""
    batch = found.job.settings.recipe.batch_size
    slower = slower_sparse(found, batch)
    note(f"measuring memory: training steps at batch {batch}, each side in a process of its own")
    values = {side: memory_of(str(found.folder), paths, side, slower) for side in (DENSE, PRUNED)}
    return counted("peak memory", "bytes", values, batch=batch)


def latency(found: StoredRun, size: int, functions: Mapping[str, Any]) -> list[Measurement]:
    """A forward pass of so many images or clips by every side, in turn."""
    note(f"measuring latency at batch {size}")
    x, pruned = batch_of(found, size)[0], pruned_side(found, slower_sparse(found, size))
    sides = {DENSE: found.model.eval(), PRUNED: pruned.model.eval(), **functions}
    times = in_turn({side: inference(found, model, x) for side, model in sides.items()})
    return timed("latency", size, times, _sparse(pruned))


def training_steps(found: StoredRun) -> list[Measurement]:
    """A training step of both sides, in turn, at the run's own batch; the run's model is trained by it."""
    batch = found.job.settings.recipe.batch_size
    note(f"measuring training steps at batch {batch}")
    (x, y), pruned = batch_of(found, batch), pruned_side(found, slower_sparse(found, batch))
    sides = {DENSE: Side(found.model, {}), PRUNED: pruned}
    times = in_turn({name: training(found, side, x, y) for name, side in sides.items()})
    return timed("training step", batch, times, _sparse(pruned))


def _sparse(side: Side) -> dict[str, int]:
    return {} if side.sparse is None else {PRUNED: side.sparse}
