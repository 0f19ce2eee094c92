"""One run a GPU: locks of real processes on GPUs that need not be there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from stand_in import LIMIT, until

from prune_cli.common.errors import PruneCliError
from prune_cli.sweeps import gpus
from prune_cli.sweeps.gpus import Claim, claimed, visible

LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
"""
SPLIT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-aaaa/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""
HOLD = """\
import subprocess, sys
from prune_cli.sweeps.gpus import claimed
with claimed(int(sys.argv[1])) as claim:
    if len(sys.argv) > 2:
        child = subprocess.Popen(["/bin/sleep", "1000"], pass_fds=claim.descriptors, stdout=subprocess.DEVNULL)
        print(child.pid, end=" ")
    print(claim.environment()["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""
Holder = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs 0 and 1, whatever this machine has, and locks of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "DRIVERS", ())
    no_nvidia_smi(monkeypatch)


def no_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)


def nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """Let `nvidia-smi --list-gpus` say this."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ $1 = --list-gpus ] && /bin/cat <<'END'\n{text}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def torch_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *uuids: str) -> None:
    """Let there be a driver and no nvidia-smi, as with ROCm and in many containers, and a torch that sees these GPUs."""
    monkeypatch.setattr(gpus, "DRIVERS", (tmp_path,))
    monkeypatch.setattr(gpus, "LIST_UUIDS", f"print(*{uuids!r}, sep='\\n')")


@pytest.fixture
def holder() -> Iterator[Holder]:
    """Start a process that holds GPUs until its stdin is closed; it has said which ones."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *more: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLD, str(count), *more]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def now(count: int) -> tuple[str, ...] | None:
    """The GPUs that are had without waiting."""
    with claimed(count, lambda: True) as claim:
        return claim.names if claim else None


def test_each_process_has_a_gpu_of_its_own_and_the_next_one_waits(holder: Holder) -> None:
    first, second = holder(1), holder(1)
    freed = said(first)
    assert {freed, said(second)} == {"0", "1"}
    assert now(1) is None
    third = holder(1)
    first.communicate()
    assert said(third) == freed


def test_a_holder_that_is_killed_frees_its_gpu(holder: Holder) -> None:
    first = holder(2)
    assert said(first) == "0,1"
    assert now(1) is None
    first.kill()
    first.wait()
    assert now(2) == ("0", "1")


def test_a_child_that_outlives_its_killed_parent_holds_the_gpu_until_it_ends(holder: Holder) -> None:
    first = holder(1, "with a child")
    child, name = said(first).split()
    assert name == "0"
    first.kill()
    first.wait()
    assert now(2) is None
    os.kill(int(child), signal.SIGKILL)
    until(lambda: now(2) == ("0", "1"))


def test_a_wait_ends_when_a_gpu_is_free(holder: Holder) -> None:
    first = holder(2)
    said(first)
    asked, got = threading.Event(), []

    def wait() -> None:
        with claimed(1, lambda: bool(asked.set())) as claim:
            got.append(claim)

    with ThreadPoolExecutor() as pool:
        ended = pool.submit(wait)
        assert asked.wait(LIMIT) and not got
        first.communicate()
        ended.result(LIMIT)
    assert [claim.names for claim in got] == [("0",)]


def test_several_are_had_together_or_not_at_all(holder: Holder) -> None:
    assert said(holder(1)) == "0"
    assert now(2) is None
    assert now(1) == ("1",)  # the wait for two keeps none


def test_many_that_want_two_all_get_them_in_the_end(holder: Holder) -> None:
    processes = [holder(2) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        answers = [answer[0] for answer in pool.map(subprocess.Popen.communicate, processes)]
    assert answers == ["0,1\n"] * 3


def test_descriptors_are_closed_afterwards() -> None:
    with claimed(2) as claim:
        assert claim is not None and len(claim.descriptors) == 2
        assert not any(map(os.get_inheritable, claim.descriptors))
    for descriptor in claim.descriptors:
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_more_than_there_are_is_an_error_before_any_wait(holder: Holder) -> None:
    said(holder(2))
    with pytest.raises(PruneCliError, match="wants 3 GPUs, but there are 2"), claimed(3):
        pytest.fail("there are two")


@pytest.mark.parametrize("given", ["", "-1", "NoDevFiles", "-1,0"])
def test_where_no_gpu_is_visible_a_claim_is_empty_at_once(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with claimed(3) as claim:
        assert claim == Claim() and claim.environment() == {}


def test_a_machine_without_a_driver_has_no_gpu_and_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(gpus, "_uuids_from_torch", lambda: pytest.fail("asked"))
    assert visible() == {}


def test_without_nvidia_smi_torch_tells_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    torch_alone(monkeypatch, tmp_path, "GPU-aaaa", "GPU-bbbb")
    assert visible() == {"0": "GPU-aaaa", "1": "GPU-bbbb"}
    with claimed(1) as first, claimed(1) as second:
        assert first is not None and second is not None
        assert [first.environment(), second.environment()] == [{"CUDA_VISIBLE_DEVICES": name} for name in "01"]
        assert now(1) is None


def test_a_gpu_has_one_lock_in_two_containers_that_both_call_it_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    torch_alone(monkeypatch, tmp_path, "GPU-bbbb")
    with claimed(1):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        torch_alone(monkeypatch, tmp_path, "GPU-aaaa", "GPU-bbbb")
        assert now(1) == ("0",)
        assert now(2) is None


def test_rocm_shows_gpus_by_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HIP heeds it before the one of CUDA, so what a run is given has to stand there."""
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,5")
    torch_alone(monkeypatch, tmp_path, "GPU-cccc", "GPU-ffff")
    assert visible() == {"2": "GPU-cccc", "5": "GPU-ffff"}
    with claimed(2) as claim:
        assert claim is not None and claim.environment() == {"HIP_VISIBLE_DEVICES": "2,5"}
    with pytest.raises(PruneCliError) as caught, claimed(3):
        pytest.fail("there are two")
    assert caught.value.where == "HIP_VISIBLE_DEVICES=2,5"


@pytest.mark.parametrize("said", ["raise SystemExit(1)", "import prune_cli.no_such_thing"])
def test_where_torch_fails_the_names_that_are_given_are_locked(
    said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch_alone(monkeypatch, tmp_path)
    monkeypatch.setattr(gpus, "LIST_UUIDS", said)
    assert visible() == {"0": "0", "1": "1"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible() == {}


def test_what_torch_is_asked_runs_and_is_a_line_a_gpu() -> None:
    assert len(gpus._uuids_from_torch()) == torch.cuda.device_count()


def test_no_gpu_is_wanted_nor_looked_for_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "visible", lambda: pytest.fail("looked"))
    with claimed(0) as claim:
        assert claim == Claim()


def test_gpus_of_a_machine_are_those_that_nvidia_smi_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia_smi(monkeypatch, tmp_path, LISTED)
    assert visible() == {"GPU-aaaa": "GPU-aaaa", "GPU-bbbb": "GPU-bbbb"}


def test_a_gpu_that_is_split_is_its_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia_smi(monkeypatch, tmp_path, SPLIT)
    assert list(visible()) == ["MIG-1111", "MIG-GPU-aaaa/2/0", "GPU-bbbb"]
    assert now(3) == ("MIG-1111", "MIG-GPU-aaaa/2/0", "GPU-bbbb")


def test_a_gpu_has_one_lock_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, LISTED)
    for given, found in (("1", {"1": "GPU-bbbb"}), ("GPU-bbbb", {"GPU-bbbb": "GPU-bbbb"}), ("5", {"5": "5"})):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible() == found
