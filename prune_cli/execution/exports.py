"""The formats in which a finished run's model is exported: how each is written, and how it is read back to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from prune_cli import pipeline
from prune_cli.common.errors import RequestError
from prune_cli.common.lazy import nn, torch
from prune_cli.execution.stored_run import StoredRun, mask_of
from prune_cli.models.stored import load
from prune_cli.models.weights import restore
from prune_cli.runs.artefacts import EXPORTED
from prune_cli.runs.compressed import write_model
from prune_cli.runs.files import write_tensors

DTYPES = ("float32", "float16")
OTHER_KERNELS, NARROWED = (
    0.1,
    0.5,
)  # percentage points that an accuracy may be off: sums in another order, another dtype


class Export(ABC):
    """One format of a model file."""

    name: ClassVar[str]  # as --format has it
    suffix: ClassVar[str] = ".safetensors"

    @property
    def file(self) -> str:
        """What the file is called in the run's folder where no other name is typed."""
        return f"{EXPORTED}-{self.name}{self.suffix}"

    def rounding(self, found: StoredRun) -> float:  # noqa: ARG002 - most hold the weights bit by bit
        """By how many percentage points the accuracy may be off because weights or kernels are not the run's own."""
        return 0.0

    def check(self) -> None:  # noqa: B027 - most need nothing
        """Raise RequestError where a package lacks that it needs."""

    @abstractmethod
    def write(self, found: StoredRun, path: Path) -> None:
        """Write the run's model."""

    @abstractmethod
    def read(self, found: StoredRun, path: Path) -> nn.Module:
        """The model in the file, on the device of the run."""


@dataclass(frozen=True)
class DenseExport(Export):
    """Every weight, under the names that timm has: `timm.create_model(ARCH, checkpoint_path=FILE)` loads it."""

    name = "dense"

    def write(self, found: StoredRun, path: Path) -> None:
        """Write the state_dict as plain safetensors."""
        write_tensors(path, found.model.state_dict())

    def read(self, found: StoredRun, path: Path) -> nn.Module:
        """A model that is built anew, on the device of the run, with every tensor from the file."""
        model, _ = pipeline.build_model(found.job)
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.zero_()
        restore(model, path)
        return model


@dataclass(frozen=True)
class CompressedExport(Export):
    """The survivors and their places (docs/format.md), in this dtype; None: that of the run."""

    dtype: str | None = None
    name = "compressed"

    @property
    def file(self) -> str:
        """What the file is called in the run's folder; a dtype that is asked for is in the name."""
        return super().file if self.dtype is None else f"{EXPORTED}-{self.name}-{self.dtype}{self.suffix}"

    def rounding(self, found: StoredRun) -> float:
        """NARROWED where the values are of another dtype than the run's, else 0."""
        as_trained = self.dtype is None or getattr(torch, self.dtype) == found.job.settings.compute.dtype
        return 0.0 if as_trained else NARROWED

    def write(self, found: StoredRun, path: Path) -> None:
        """Write the survivors, their places, and the card that `prune_cli.load` builds the model from."""
        mask = found.target.weight_mask(found.model, mask_of(found.folder, found.record))
        card = pipeline.card_of(found.job).to_json()
        write_model(path, found.model.state_dict(), mask, card, getattr(torch, self.dtype) if self.dtype else None)

    def read(self, found: StoredRun, path: Path) -> nn.Module:
        """What `prune_cli.load` gives, on the device and in the dtype and layout of the run."""
        compute = found.job.settings.compute
        return load(path).to(found.job.device, compute.dtype).to(memory_format=compute.memory_format)


@dataclass(frozen=True)
class OnnxExport(Export):
    """A graph of ONNX in float32, for batches of any size; see execution/onnx_graph.py."""

    name = "onnx"
    suffix = ".onnx"
    file = f"{EXPORTED}.onnx"

    def rounding(self, found: StoredRun) -> float:
        """OTHER_KERNELS; NARROWED where the run computed in another precision."""
        return OTHER_KERNELS if found.job.settings.compute.precision == "fp32" else NARROWED

    def check(self) -> None:
        """Raise RequestError where a package of the extra `export` is missing."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            hint = "pip install 'prune-cli[export]'"
            raise RequestError(f"ONNX needs {', '.join(missing)}", "--format onnx", hint)

    def write(self, found: StoredRun, path: Path) -> None:
        """Write what torch traces on two test images or clips."""
        from prune_cli.execution.onnx_graph import write_graph

        example = next(iter(pipeline.evaluation_batches(found.job, "test")))[0]
        write_graph(found.model, example, pipeline.card_of(found.job), path)

    def read(self, found: StoredRun, path: Path) -> nn.Module:  # noqa: ARG002
        """A module that gives what ONNX Runtime computes on the CPU."""
        from prune_cli.execution.onnx_graph import OnnxModel

        return OnnxModel(path)


FORMATS = {kind.name: kind for kind in (DenseExport, CompressedExport, OnnxExport)}


def export_named(name: str, dtype: str | None) -> Export:
    """The format that was asked for. Raises RequestError for an unknown one, or for a dtype that it does not have."""
    for option, value, known in (("--format", name, FORMATS), ("--dtype", dtype or DTYPES[0], DTYPES)):
        if value not in known:
            raise RequestError(f"there is no {option.strip('-')} {value!r}", option, f"{option} {'|'.join(known)}")
    if name == CompressedExport.name:
        return CompressedExport(dtype)
    if dtype is not None:
        raise RequestError(f"{name} files keep the dtype of the run", f"--dtype {dtype}", "--format compressed")
    return FORMATS[name]()
