"""The processes that compute one run together, one a GPU: which of them this one is, and what they tell each other.

The group is torch.distributed's, formed from the environment (RANK, WORLD_SIZE, …: sweeps/child.py and torchrun set it).
The processes find each other by the file that STORE names, under torchrun by MASTER_ADDR and MASTER_PORT. Numbers and
objects travel over gloo also where tensors on GPUs travel over NCCL, because a process that waits in gloo hears at once
that another one has died.
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
STORE = "PRUNE_CLI_STORE"  # names a file of this machine, of one attempt at one run: a port could be another run's
PATIENCE = timedelta(days=7)  # the first process may score, or wait for another run, for hours: the others wait for it


class LostError(PruneCliError):
    """Another process of the run has failed, or has gone."""

    def __init__(self, said: str = ""):
        super().__init__(f"another process of this run has ended{said and f': {said}'}")


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `world` that compute one run together. Alone, every method is free."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls, processes: int, device: torch.device) -> Ranks:
        """The group that the environment names, where more than one process is wanted; alone where it names none.

        Raises ConfigError where the group is of another size, or there are too few GPUs.
        """
        if not grouped(processes):
            return ALONE
        _check_group(processes, device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=PATIENCE, **_meeting(processes))
        if rank := torch.distributed.get_rank():
            _be_silent()
        return cls(rank, processes)

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks to the person."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """Where this process computes: each has a GPU of its own."""
        if self.world_size == 1 or device.type != "cuda":
            return device
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
        return own

    def share(self, size: int) -> list[int]:
        """This process's indices in a batch of `size`, in order: with each place i also size - 1 - i.

        timm's CutMix mixes these two, so mixing a share is mixing the whole batch. The share may be empty.
        """
        return [i for i in range(size) if min(i, size - 1 - i) % self.world_size == self.rank]

    def all_reduce(self, *values: float) -> tuple[float, ...]:
        """Each value summed over the processes, in float64; alone, as they are."""
        if self.world_size == 1:
            return values
        return tuple(self.sum(torch.tensor(values, dtype=torch.float64)).tolist())

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of this tensor over the processes."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        _spoken(lambda: torch.distributed.all_reduce(total))
        return total

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        return self.all_reduce(flag)[0] > 0

    def gathered(self, value: T) -> list[T]:
        """What each process has, by rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        _spoken(lambda: torch.distributed.all_gather_object(values, value))
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give the tensors, in place, the values that they have in the first process."""
        for tensor in tensors if self.world_size > 1 else ():
            _spoken(partial(torch.distributed.broadcast, tensor, src=0))

    def run_on_main(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it, for every process. Its failure ends all of them.

        What it gives is pickled: no tensor on a GPU.
        """
        if self.world_size == 1:
            return work()
        found, failure = _attempted(work) if self.main else (None, None)
        said: list[Any] = [found, ErrorParts.of(failure) if failure else None]
        _spoken(lambda: torch.distributed.broadcast_object_list(said, src=0))
        found, reason = said
        if failure is not None:
            raise failure
        if reason is not None:
            raise LostError(reason.lines()[0])
        return found

    def check_same(self, value: Any, what: str) -> None:
        """Raise PruneCliError unless every process has this value."""
        values = self.gathered(value)
        if any(other != values[0] for other in values):
            raise PruneCliError(f"the processes of this run differ: {what}", ", ".join(map(str, values)))

    def leave(self) -> None:
        """The work is done: NCCL would complain of a process that just ends."""
        if self.world_size > 1:
            torch.distributed.destroy_process_group()


ALONE = Ranks()


def grouped(processes: int) -> bool:
    """Whether several processes are wanted and the environment names the group that this one belongs to."""
    return processes > 1 and "RANK" in os.environ


def _check_group(processes: int, device: torch.device) -> None:
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if world != processes:
        raise ConfigError(f"this is one of {world} processes, not {processes}", OPTION, f"{OPTION}={world}")
    if device.type == "cuda" and local >= torch.cuda.device_count():
        what = f"{processes} processes want a GPU each, and this machine has {torch.cuda.device_count()}"
        raise ConfigError(what, OPTION, "fewer processes, or compute.device=cpu")


def _meeting(processes: int) -> dict[str, Any]:
    """How the processes find each other; nothing where torchrun has arranged it."""
    if STORE not in os.environ:
        return {}
    store = torch.distributed.FileStore(os.environ[STORE], processes)
    return {"store": store, "rank": int(os.environ["RANK"]), "world_size": processes}


def _attempted(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _spoken(talk: Callable[[], T]) -> T:
    """Raises LostError where another process has gone, KeyboardInterrupt where that is because all were told to stop."""
    try:
        return talk()
    except RuntimeError:  # torch's DistBackendError among them
        if interrupts.requested():
            raise KeyboardInterrupt from None
        raise LostError from None


def _be_silent() -> None:
    """Only the first process speaks to the person; why another one fails is in the run's status."""
    STDERR.quiet = True
    sys.stdout = io.StringIO()
