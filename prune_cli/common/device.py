"""Device, number of threads, precision and layout of the computation, and its peak memory."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.registry import NOT_IN_HASH

DEVICES = ("auto", "cpu", "cuda", "mps")
MOST_THREADS = 1024
PRECISIONS = ("fp32", "bf16", "fp64")
SPARSE = ("auto", "on", "off")


@dataclass(frozen=True)
class Compute:
    """Where and how a run is computed. Precision and memory layout are part of a run's identity; bf16 is not of that of
    scores, which are measured without autocast.

    sparse: whether pruned layers hold and compute with their survivors alone (runtime/), on a CPU. It rounds otherwise, so
    `on` and `auto` are part of the identity of a run that removes something, as they are typed: what `auto` finds faster is
    a matter of the machine and the hour, which must not decide what a run is called. Its record says what it was.
    Raises ConfigError."""

    device: str = field(default="auto", metadata=NOT_IN_HASH)
    threads: int | None = field(default=None, metadata=NOT_IN_HASH)
    workers: int = field(default=0, metadata=NOT_IN_HASH)
    processes: int = field(default=1, metadata=NOT_IN_HASH)
    checkpoint_steps: int | None = field(default=500, metadata=NOT_IN_HASH)  # None: only when a run is stopped
    trackers: list[str] = field(default_factory=list, metadata=NOT_IN_HASH)
    precision: str = "fp32"
    channels_last: bool = False
    sparse: str = "off"

    def __post_init__(self) -> None:
        for name, known in (("device", DEVICES), ("precision", PRECISIONS), ("sparse", SPARSE)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ConfigError(
                    f"there is no {name} {value!r}", f"compute.{name}", nearest(value, known, f"compute.{name}=")
                )
        hints = {"checkpoint_steps": "compute.checkpoint_steps=null: only when a run is stopped"}  # what 0 could mean
        for name, low in (("threads", 1), ("checkpoint_steps", 1), ("processes", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                what, where = f"compute.{name} must be {low} or more", f"compute.{name}={value}"
                raise ConfigError(what, where, hints.get(name, f"compute.{name}={low}"))

        if self.threads is not None and self.threads > MOST_THREADS:
            what, hint = f"compute.threads must be {MOST_THREADS} or fewer", f"compute.threads={MOST_THREADS}"
            raise ConfigError(what, f"compute.threads={self.threads}", hint)

    @property
    def memory_format(self) -> torch.memory_format:
        """torch's memory format for images and kernels."""
        return torch.channels_last if self.channels_last else torch.preserve_format

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of weights and inputs."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def runs_anywhere(self) -> bool:
        """Whether `start` accepts these options on every machine, so that a plan need not import torch.

        False for cuda and mps, and for auto on a Mac, where mps lacks float64 and serves one process.
        """
        return self.device == "cpu" or (self.device == "auto" and sys.platform != "darwin")

    def start(self) -> torch.device:
        """Set torch's number of threads and return the device. Raises ConfigError for a device that is missing or too limited."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = choose_device(self.device)
        if device.type == "mps" and self.processes > 1:
            raise ConfigError("mps serves one process", f"compute.processes={self.processes}", "compute.device=cpu")
        if device.type == "mps" and self.precision == "fp64":
            raise ConfigError("mps has no float64", "compute.precision=fp64", "compute.device=cpu")
        return device


def choose_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`. Raises ConfigError for a device that this machine lacks."""
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if have[kind]))
    if not have[name]:
        raise ConfigError(f"this machine has no {name} device", "compute.device", "compute.device=auto")
    return torch.device(name)


def device_for_float64(device: torch.device) -> torch.device:
    """The device that computes float64 for a model on `device`: the CPU for mps, which has no float64, else `device`."""
    return torch.device("cpu") if device.type == "mps" else device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """A context in which forward passes run in bfloat16 for `bf16`; it changes nothing for `fp32` and `fp64`."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or unchanged where their dtype is wider. Losses are computed in this dtype."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def peak_memory(device: torch.device) -> int:
    """The largest number of bytes held so far: by the GPU's allocator, else by the whole process (0: not known)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # Windows keeps no such figure for us
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
