"""A run that is forked from a process with torch in it computes what a process of its own does, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Answer

from prune_cli.runs.files import FILES
from prune_cli.sweeps import executors, fork_server
from prune_cli.sweeps.forked import PRELOADED, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system forks no process with torch in it")
WORDS = ("sweep", "recipe=smoke", "scorer=snip", "sparsity=95", "compute.device=cpu")


def test_weights_and_masks_are_those_of_a_fresh_process(
    run: Callable[..., Answer], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both with the threads of this variable, which OpenMP reads when torch is imported."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    digests = []
    for forks in (True, False):
        monkeypatch.setattr(executors, "can_fork", lambda forks=forks: forks)
        answer = run(*WORDS, "--runs-dir", f"forked {forks}", "--json")
        assert answer.code == 0, answer.err
        digests.append(
            {name: answer.json["runs"][0][FILES][name] for name in ("model.safetensors", "mask.safetensors")}
        )
    assert digests[0] == digests[1]
    assert all((here / f"forked {forks}" / ".launch").is_dir() for forks in (True, False))


def test_the_server_has_started_no_thread_and_touched_no_gpu() -> None:
    """But for OpenBLAS, which starts threads when it is loaded, and ends them before a fork."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-c", LOOK, *PRELOADED]
    found = subprocess.run(words, env=environment, capture_output=True, check=True)
    assert json.loads(found.stdout) == {"threads": 1, "cuda": False}


LOOK = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import torch
print(json.dumps({"threads": len(os.listdir("/proc/self/task")), "cuda": torch.cuda.is_initialized()}))
"""


@pytest.mark.usefixtures("one_thread")
def test_the_threads_of_a_child_are_those_of_its_environment() -> None:
    """As each of several processes of a run has it; OpenMP has read the variable long before, in the server."""
    for threads in (3, 1):
        fork_server._start_afresh({"OMP_NUM_THREADS": str(threads)})
        assert torch.get_num_threads() == threads


def test_no_two_children_draw_the_same_numbers() -> None:
    drawn = []
    for _ in range(2):
        np.random.seed(0)
        fork_server._start_afresh({})
        drawn.append(np.random.rand())
    assert drawn[0] != drawn[1]
