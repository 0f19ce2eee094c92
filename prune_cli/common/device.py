"""Where the work runs: device, threads, precision and the memory that it took."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.registry import OUTSIDE

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """Where and how a run is computed. Precision and memory layout are part of a run's identity. Raises ConfigError."""

    device: str = field(default="auto", metadata=OUTSIDE)
    threads: int | None = field(default=None, metadata=OUTSIDE)
    workers: int = field(default=0, metadata=OUTSIDE)
    processes: int = field(default=1, metadata=OUTSIDE)
    checkpoint_steps: int | None = field(default=500, metadata=OUTSIDE)  # None: only when a run is stopped
    precision: str = "fp32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, known in (("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ConfigError(f"there is no {name} {value!r}", f"compute.{name}", nearest(value, known))
        if self.threads is not None and self.threads < 1:
            raise ConfigError("compute.threads must be 1 or more", f"compute.threads={self.threads}")
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise ConfigError(
                "compute.checkpoint_steps must be 1 or more",
                f"compute.checkpoint_steps={self.checkpoint_steps}",
                "compute.checkpoint_steps=null: only when a run is stopped",
            )
        if self.workers < 0:
            raise ConfigError("compute.workers must be 0 or more", f"compute.workers={self.workers}")

    @property
    def memory_format(self) -> torch.memory_format:
        """How the tensors of images and kernels lie in memory."""
        return torch.channels_last if self.channels_last else torch.preserve_format

    def start(self) -> torch.device:
        """Set the number of threads and return the device. Raises ConfigError for a device this machine lacks."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return choose_device(self.device)


def choose_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`. Raises ConfigError for one that this machine lacks."""
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if have[kind]))
    if not have[name]:
        raise ConfigError(f"this machine has no {name} device", "compute.device", "compute.device=auto")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Forward passes in bfloat16 for `bf16`; nothing for `fp32`."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest point so far: of the GPU's allocator, else of the whole process (0: not known)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # Windows keeps no such figure for us
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
