"""What the report's Tables 1 and 2 would take: GPU hours, memory and disk, from shapes alone. Nothing is run.

The grids, recipes and models are those of experiment=table1 and table2. torch counts the FLOPs of an image's forward pass
on the meta device, a multiplication and an addition as two. Training an image is three forward passes, evaluating it one;
the test images are evaluated after every epoch. Hours are FLOPs / (peak × utilisation). Scoring (one batch a run), reading
images and writing files are left out. Every figure is an estimate: docs/scale.md says what it is worth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import groupby
from operator import itemgetter, or_

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from prune_cli.common.terminal import print_table
from prune_cli.config.schema import Settings
from prune_cli.execution.grid import grid_settings
from prune_cli.masks.allocate import kept_total
from prune_cli.models.prunable import prunable
from prune_cli.runs.paths import Paths
from prune_cli.training.memory import PLACE, ModelBytes, footprint

EXPERIMENTS = {"Table 1": "table1", "Table 2": "table2"}
PEAKS = {  # dense TFLOP/s of the SXM cards, from NVIDIA's data sheets
    "A100": {"fp32": 19.5, "tf32": 156.0, "bf16": 312.0},
    "H100": {"fp32": 67.0, "tf32": 494.7, "bf16": 989.4},
}
UTILISATION = 0.35  # of the peak, in all precisions: an assumption, not a measurement
GMACS = {  # as the literature has them, with attention's own products
    "vit_b16": 17.6,
    "vit_l16": 61.6,
    "mixer_b16": 12.6,
    "mixer_l16": 44.6,
    "poolformer_m36": 8.8,
    "poolformer_m48": 11.6,
}
GB, EFLOP, FLOAT = 1e9, 1e18, 4


@dataclass(frozen=True)
class Images:
    """How many images a dataset has, as published, and of how many classes."""

    train: int
    test: int
    classes: int


IMAGES = {
    "cifar10": Images(50_000, 10_000, 10),
    "cifar100": Images(50_000, 10_000, 100),
    "imagenet1k": Images(1_281_167, 50_000, 1_000),
}


class Outline:
    """A model without a single weight."""

    def __init__(self, settings: Settings):
        with torch.device("meta"):
            self.module = settings.model.build(IMAGES[settings.dataset.name].classes)
        self.input = settings.model.input
        self.parameters: Mapping[str, Tensor] = prunable(self.module, settings.model.prunable)

    @property
    def prunable(self) -> int:
        """How many weights may be pruned."""
        return sum(p.numel() for p in self.parameters.values())

    @cached_property
    def flops(self) -> int:
        """Of one image's forward pass."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.module.eval()(self._images(1))
        return counter.get_total_flops()

    @cached_property
    def activations(self) -> int:
        """Bytes that the forward pass of one image keeps for the backward pass in float32, its attention not fused."""
        own = {_memory(t) for t in self.module.parameters()}
        kept: dict[int, Tensor] = {}  # holding them: memory that is free again may be given out twice
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(_memory(t), t), _same):
            self.module.train()(self._images(2))  # batch norm refuses one
        return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own) // 2

    def _images(self, count: int) -> Tensor:
        return torch.empty(count, self.input.channels, self.input.height, self.input.width, device="meta")


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Run:
    """One point of a grid."""

    settings: Settings
    outline: Outline

    @property
    def flops(self) -> int:
        """Of all epochs: training and evaluations."""
        images = IMAGES[self.settings.dataset.name]
        return self.settings.recipe.epochs * (3 * images.train + images.test) * self.outline.flops

    @property
    def kept(self) -> int:
        """How many of the prunable weights are left."""
        return kept_total(self.outline.prunable, self.settings.sparsity.fraction)

    @cached_property
    def bytes(self) -> dict[str, int]:
        """What it holds and writes: see training/memory.py."""
        return footprint(ModelBytes.of(self.outline.module), self.outline.parameters, self.kept, self.settings.recipe)

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint: the weights, and the optimiser's state without what can be gathered from them again."""
        return self.bytes["weights"] + self.bytes["survivor_optimizer"] - (FLOAT + PLACE) * self.kept

    @property
    def scoring(self) -> dict[str, int]:
        """The bytes of its scores, by what they depend on: not by the sparsity."""
        settings = self.settings
        if settings.scorer.rounds > 1:
            return {}
        return {repr((settings.model, settings.dataset, settings.scorer, settings.seed)): self.bytes["score_file"]}


def runs_of(experiment: str) -> list[Run]:
    """Every run of an experiment's grid."""
    outlines: dict[str, Outline] = {}
    runs = []
    for settings in grid_settings([f"experiment={experiment}"], Paths()):
        key = repr((settings.model, IMAGES[settings.dataset.name].classes))
        if key not in outlines:
            outlines[key] = Outline(settings)
        runs.append(Run(settings, outlines[key]))
    return runs


def by_model(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs under the titles of their models, in the grid's order."""
    runs = list(runs)
    order = [run.settings.model.title for run in runs]
    ranked = sorted(runs, key=lambda run: order.index(run.settings.model.title))
    return {title: list(group) for title, group in groupby(ranked, lambda run: run.settings.model.title)}


def show_models(runs: list[Run]) -> None:
    """The forward pass of each model beside the published figure."""
    rows = []
    for title, group in by_model(runs).items():
        name, outline = group[0].settings.model.name, group[0].outline
        counted, input_ = outline.flops / 2e9, outline.input
        total = sum(p.numel() for p in outline.module.parameters())
        size = f"{input_.height}×{input_.width}"
        rows.append((title, size, f"{total / 1e6:.1f}", f"{2 * counted:.1f}", f"{counted:.2f}", GMACS[name]))
    columns = ("model", "input", "parameters [M]", "GFLOP", "GMAC", "published GMAC")
    print_table("Forward pass of one image", columns, rows)


def show_hours(title: str, runs: list[Run], utilisation: float) -> None:
    """GPU hours by model, of one run in bf16 and of all runs in each precision."""
    peaks = [(card, precision, peak) for card, known in PEAKS.items() for precision, peak in known.items()]
    rates = [peak * 1e12 * 3600 * utilisation for _, _, peak in peaks]
    half = [rate for (_, precision, _), rate in zip(peaks, rates, strict=True) if precision == "bf16"]
    rows = []
    for model, group in by_model(runs).items():
        one, whole = max(run.flops for run in group), sum(run.flops for run in group)
        row = [f"{one / EFLOP:.2f}", *(f"{one / rate:.1f}" for rate in half), f"{whole / EFLOP:.1f}"]
        rows.append([model, len(group), *row, *(f"{whole / rate:,.0f}" for rate in rates)])
    whole = sum(run.flops for run in runs)
    rows.append(["all", len(runs), "", "", "", f"{whole / EFLOP:.1f}", *(f"{whole / rate:,.0f}" for rate in rates)])
    rows.append(["days on one card", *[""] * 5, *(f"{whole / rate / 24:,.1f}" for rate in rates)])
    one_run = ["a run: EFLOP", *(f"{card} bf16 [h]" for card in PEAKS)]
    columns = ["model", "runs", *one_run, "all: EFLOP", *(f"{card} {precision} [h]" for card, precision, _ in peaks)]
    print_table(f"\n{title}: GPU hours at {utilisation:.0%} of the peak", columns, rows)


def show_memory(runs: list[Run]) -> None:
    """Memory of the runs at each model's highest sparsity."""
    rows = []
    for model, group in by_model(runs).items():
        run = max(group, key=lambda run: run.settings.sparsity.percent)
        size, batch = run.bytes, run.settings.recipe.batch_size
        pairs = [f"{size[name] / GB:.2f} → {size[f'survivor_{name}'] / GB:.2f}" for name in ("gradients", "optimizer")]
        activations = f"{batch * run.outline.activations / GB:.0f}"
        rows.append((model, f"{run.settings.sparsity.percent:g}", f"{size['weights'] / GB:.2f}", *pairs, activations))
    columns = ("model", "sparsity [%]", "weights", "gradients", "optimiser", "activations of a batch, fp32, at most")
    print_table("\nMemory of a run [GB]; dense → survivors alone", columns, rows)


def show_disk(title: str, runs: list[Run]) -> None:
    """Files by model, and all of the sweep; checkpoints go when their runs are finished."""
    rows, total = [], 0.0
    for model, group in by_model(runs).items():
        size = max((run.bytes for run in group), key=itemgetter("model_file"))
        scores: dict[str, int] = reduce(or_, (run.scoring for run in group))
        whole = sum(run.bytes["model_file"] + run.bytes["mask_file"] for run in group) + sum(scores.values())
        total += whole
        files = [f"{size[name] / GB:.3f}" for name in ("model_file", "mask_file", "score_file")]
        checkpoint = f"{max(run.checkpoint for run in group) / GB:.2f}"
        rows.append([model, len(group), *files[:2], len(scores), files[2], f"{whole / GB:.1f}", checkpoint])
    rows.append(["all", len(runs), *[""] * 4, f"{total / GB:.1f}", ""])
    columns = (
        "model",
        "runs",
        "model file, at most",
        "mask file",
        "scorings",
        "score file",
        "all",
        "checkpoint while it runs",
    )
    print_table(f"\n{title}: disk [GB]", columns, rows)


def utilisation(text: str) -> float:
    """A share of the peak, in (0, 1]."""
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie in (0, 1]")
    return value


def main() -> None:
    """Count, and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utilisation", type=utilisation, default=UTILISATION, help="share of the peak (%(default)s)")
    options = parser.parse_args()
    grids = {title: runs_of(experiment) for title, experiment in EXPERIMENTS.items()}
    show_models(grids["Table 1"])
    for title, runs in grids.items():
        show_hours(title, runs, options.utilisation)
    show_memory(grids["Table 1"])
    for title, runs in grids.items():
        show_disk(title, runs)


if __name__ == "__main__":
    main()
