"""Locks on the GPUs of this machine, so that each run has its own; the system frees a lock when its last holder dies.

The lock is flock's, which belongs to an open file: a child process that is handed the descriptor holds the GPU as well,
so it stays taken where the process that started the child is killed and the child lives on.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from prune_cli.common.errors import PruneCliError

VISIBLE, VISIBLE_TO_HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"  # ROCm heeds both, and the second one first
LISTING = ("nvidia-smi", "--list-gpus")
DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # of Nvidia, of AMD, and of both under WSL
LIST_UUIDS = """
for number in range(torch.cuda.device_count()):
    print(f"GPU-{getattr(torch.cuda.get_device_properties(number), 'uuid', number)}")
"""
POLL = 0.2  # seconds between two looks for a free GPU


@dataclass(frozen=True)
class Claim:
    """GPUs that are locked. names: their entries for CUDA_VISIBLE_DEVICES (see `visible`). descriptors: of their locks,
    for `pass_fds`."""

    names: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()

    def environment(self) -> dict[str, str]:
        """The environment variable with which a process sees these GPUs alone; empty for a claim of no GPU."""
        return {_variable(): ",".join(self.names)} if self.names else {}


@contextmanager
def claimed(count: int, give_up: Callable[[], bool] = lambda: False) -> Iterator[Claim | None]:
    """Wait for `count` free GPUs and hold them, all or none; None where `give_up` was true before they were free.

    A claim of nothing where there is no GPU or none is wanted. Raises PruneCliError where there are too few GPUs.
    """
    locks = visible() if count else {}
    if count > len(locks) > 0:
        what = f"the run wants {count} GPUs, but there are {len(locks)}"
        raise PruneCliError(what, f"{_variable()}={','.join(locks)}", "fewer processes a run")
    claim = _wait(count, locks, give_up) if locks else Claim()
    try:
        yield claim
    finally:
        _close(claim.descriptors if claim else ())


def visible() -> dict[str, str]:
    """The GPUs that this process may use: their names in CUDA_VISIBLE_DEVICES, or in HIP_VISIBLE_DEVICES where that is
    set -> the names of their locks.

    A lock is named by the GPU's UUID, since two jobs of a cluster may both call theirs 0: as nvidia-smi tells it, or
    torch, in a process of its own, where there is no nvidia-smi (ROCm, many containers).
    """
    given, listed = os.environ.get(_variable()), _nvidia_smi_uuids()
    if given is None and listed:
        return {uuid: uuid for uuid in listed}
    words = (word.strip() for word in (given or "").split(","))
    names = list(takewhile(_is_gpu, words))  # CUDA too stops at the first wrong one
    if listed or (given is not None and not names):
        return {name: _uuid(name, listed) for name in names}
    return _visible_to_torch(names)


def _variable() -> str:
    return VISIBLE_TO_HIP if VISIBLE_TO_HIP in os.environ else VISIBLE


def _nvidia_smi_uuids() -> list[str]:
    """The UUIDs that nvidia-smi lists; where a GPU is split by MIG, those of its parts."""
    try:
        found = subprocess.run(LISTING, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = re.split(r"^(?=GPU )", found, flags=re.MULTILINE)
    uuids = (re.findall(r"UUID: ([^)]+)\)", gpu) for gpu in gpus)
    return [uuid for gpu in uuids for uuid in (gpu[1:] or gpu)]


def _visible_to_torch(names: list[str]) -> dict[str, str]:
    """The names and lock names of the GPUs that torch sees: of `names`, in their order, or of all, numbered, where empty."""
    uuids = _uuids_from_torch() if any(driver.exists() for driver in DRIVERS) else []
    names = names or [str(number) for number in range(len(uuids))]
    return dict(zip(names, uuids + names[len(uuids) :], strict=True))


def _uuids_from_torch() -> list[str]:
    """The UUIDs of the GPUs that torch sees, asked in a subprocess, because a process that used a GPU holds memory of it."""
    command = [sys.executable, "-P", "-c", LIST_UUIDS]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def _is_gpu(word: str) -> bool:
    return word.isdigit() or word.startswith(("GPU-", "MIG-"))


def _uuid(name: str, listed: list[str]) -> str:
    split = any(uuid.startswith("MIG-") for uuid in listed)
    return listed[int(name)] if name.isdigit() and not split and int(name) < len(listed) else name


def _wait(count: int, locks: Mapping[str, str], give_up: Callable[[], bool]) -> Claim | None:
    while (claim := _choose(count, locks)) is None and not give_up():
        time.sleep(POLL)
    return claim


def _choose(count: int, locks: Mapping[str, str]) -> Claim | None:
    """Lock `count` free GPUs; None where fewer are free. One process chooses at a time, or two that want several GPUs
    would each take some and wait for each other for ever."""
    folder = Path(tempfile.gettempdir()) / f"prune-cli-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    choosing = os.open(folder / "choosing.lock", os.O_RDWR | os.O_CREAT, 0o600)
    held: dict[str, int] = {}
    try:
        fcntl.flock(choosing, fcntl.LOCK_EX)
        for name, lock in locks.items():
            if len(held) < count and (descriptor := _take(folder / f"{_file_name(lock)}.lock")) is not None:
                held[name] = descriptor
        if len(held) == count:
            return Claim(tuple(held), tuple(held.values()))
        _close(held.values())
        return None
    finally:
        os.close(choosing)


def _take(path: Path) -> int | None:
    """Take a lock and return its descriptor; None where the lock is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _close(descriptors: Iterable[int]) -> None:
    """Closed, never unlocked: a child that still lives goes on holding the lock."""
    for descriptor in descriptors:
        os.close(descriptor)


def _file_name(lock: str) -> str:
    return lock.replace("/", "_")  # the first MIG drivers named a part MIG-GPU-…/1/0
