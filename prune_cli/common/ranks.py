"""The process group of one run, one process a GPU: this process's rank, and the collectives between the processes.

The group is torch.distributed's, formed from the environment (RANK, WORLD_SIZE, …: sweeps/child.py and torchrun set it).
The processes find each other by the file that STORE names, under torchrun by MASTER_ADDR and MASTER_PORT. Numbers and
objects travel over gloo also where tensors on GPUs travel over NCCL, because a process that waits in gloo fails at once
when another one has died.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from prune_cli.common import interrupts
from prune_cli.common.errors import ConfigError, ErrorParts, PruneCliError
from prune_cli.common.lazy import Tensor, torch
from prune_cli.common.terminal import STDERR

T = TypeVar("T")
OPTION = "compute.processes"
STORE = "PRUNE_CLI_STORE"  # the path of a rendezvous file of one attempt at one run: a port could be another run's
TIMEOUT = timedelta(days=7)  # the first process may score, or wait for another run, for hours: the others wait for it


class LostError(PruneCliError):
    """Another process of the run has failed or ended. reason: that process's error, where it is known."""

    def __init__(self, reason: str = ""):
        super().__init__(f"another process of this run has ended{reason and f': {reason}'}")


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among the `world_size` processes that compute one run. With one process no method communicates."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls, processes: int, device: torch.device) -> Ranks:
        """Join the process group that the environment describes; ALONE for one process, or where it describes none.

        Raises ConfigError where the group has another size than `processes`, or the machine has too few GPUs.
        """
        if not in_process_group(processes):
            return ALONE
        _check_group(processes, device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=TIMEOUT, **_rendezvous(processes))
        if rank := torch.distributed.get_rank():
            _silence_output()
        return cls(rank, processes)

    @property
    def main(self) -> bool:
        """Whether this is the main process (rank 0), which writes files and prints."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device that this process computes on: with several processes on cuda, a GPU of its own."""
        if self.world_size == 1 or device.type != "cuda":
            return device
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
        return own

    def local_indices(self, size: int) -> list[int]:
        """The ascending indices of a batch of `size` that this process computes: with each index i also size - 1 - i.

        timm's CutMix mixes these two images, so mixing each process's part is mixing the whole batch. May be empty.
        """
        return [i for i in range(size) if min(i, size - 1 - i) % self.world_size == self.rank]

    def all_reduce(self, *values: float) -> tuple[float, ...]:
        """Each value summed over the processes, in float64; with one process, the values unchanged."""
        if self.world_size == 1:
            return values
        return tuple(self.sum(torch.tensor(values, dtype=torch.float64)).tolist())

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor summed over the processes (torch's all_reduce); the argument keeps its values."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        _collective(lambda: torch.distributed.all_reduce(total))
        return total

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        return self.all_reduce(flag)[0] > 0

    def all_gather(self, value: T) -> list[T]:
        """The value of each process, ordered by rank; values are pickled."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        _collective(lambda: torch.distributed.all_gather_object(values, value))
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors, in place, with the values that they have in the main process."""
        for tensor in tensors if self.world_size > 1 else ():
            _collective(partial(torch.distributed.broadcast, tensor, src=0))

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Call `work` in the main process alone and return its result in every process.

        The result is pickled, so it must hold no tensor on a GPU. Raises the error of `work` in the main process and
        LostError in the others.
        """
        if self.world_size == 1:
            return work()
        result, failure = _result_or_error(work) if self.main else (None, None)
        message: list[Any] = [result, ErrorParts.of(failure) if failure else None]
        _collective(lambda: torch.distributed.broadcast_object_list(message, src=0))
        result, reason = message
        if failure is not None:
            raise failure
        if reason is not None:
            raise LostError(reason.lines()[0])
        return result

    def check_same(self, value: Any, what: str) -> None:
        """Raise PruneCliError unless `value` is equal in every process. what: what differs, for the message."""
        values = self.all_gather(value)
        if any(other != values[0] for other in values):
            raise PruneCliError(f"the processes of this run differ: {what}", ", ".join(map(str, values)))

    def shutdown(self) -> None:
        """Destroy the process group after the work: NCCL complains of a process that ends without."""
        if self.world_size > 1:
            torch.distributed.destroy_process_group()


ALONE = Ranks()


def in_process_group(processes: int) -> bool:
    """Whether more than one process is wanted and the environment describes the process group of this one."""
    return processes > 1 and "RANK" in os.environ


def _check_group(processes: int, device: torch.device) -> None:
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if world != processes:
        raise ConfigError(f"this is one of {world} processes, not {processes}", OPTION, f"{OPTION}={world}")
    if device.type == "cuda" and local >= torch.cuda.device_count():
        what = f"{processes} processes want a GPU each, and this machine has {torch.cuda.device_count()}"
        raise ConfigError(what, OPTION, "fewer processes, or compute.device=cpu")


def _rendezvous(processes: int) -> dict[str, Any]:
    """Arguments of init_process_group by which the processes find each other; none where torchrun has set its own."""
    if STORE not in os.environ:
        return {}
    store = torch.distributed.FileStore(os.environ[STORE], processes)
    return {"store": store, "rank": int(os.environ["RANK"]), "world_size": processes}


def _result_or_error(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _collective(call: Callable[[], T]) -> T:
    """Run a collective. Raises LostError where another process has ended, KeyboardInterrupt where all were asked to stop."""
    try:
        return call()
    except RuntimeError:  # torch's DistBackendError among them
        if interrupts.stop_requested():
            raise KeyboardInterrupt from None
        raise LostError from None


def _silence_output() -> None:
    """Print nothing from this process: only the main one does, and the run's status says why another one failed."""
    STDERR.quiet = True
    sys.stdout = io.StringIO()
