"""The compiled kernels are found where they were built, share torch's threads, and are not missed where there are none."""

from __future__ import annotations

import copy
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch
from torch import nn
from ways import loaded

from prune_cli.common.random import generator
from prune_cli.runtime import kernels, products, sparsify
from prune_cli.runtime.products import KernelProducts, MatrixProducts


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that kernels are looked for in."""
    monkeypatch.setattr(kernels, "FOLDER", tmp_path)
    monkeypatch.setattr(products, "best", products.best.__wrapped__)
    monkeypatch.setattr(products, "load", kernels.load.__wrapped__)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="another system's torch may have no OpenMP to share")
def test_threads_are_those_of_torch() -> None:
    assert loaded().threaded
    libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "gomp" in line}
    assert sum("kernels" in name for name in libraries) == 0


def test_unbuilt_or_broken_kernels_leave_it_to_torch(elsewhere: Path) -> None:
    assert isinstance(products.best(), MatrixProducts)
    (elsewhere / f"_kernels{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    assert isinstance(products.best(), MatrixProducts)


def test_built_kernels_are_used(elsewhere: Path) -> None:
    path = Path(loaded()._library._name)
    (elsewhere / f"_kernels{EXTENSION_SUFFIXES[0]}").write_bytes(path.read_bytes())
    found = products.best()
    assert isinstance(found, KernelProducts) and found.title.startswith("compiled kernels")


def test_the_way_without_mkl_is_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Calling sampled_addmm on a CPU without MKL")

    assert products.by_torch.__wrapped__().title == "torch's CSR matrices" or not torch.backends.mkl.is_available()
    monkeypatch.setattr(torch.sparse, "sampled_addmm", refuse)
    assert products.by_torch.__wrapped__().title == "dense matrices"


def test_a_weight_too_wide_for_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = KernelProducts(loaded())
    monkeypatch.setattr(products, "best", lambda: chosen)
    dense = nn.Sequential(nn.Linear(70_000, 2))
    keep = torch.zeros(2, 70_000, dtype=torch.bool)
    keep[0, ::1000], keep[1, -1] = True, True
    dense[0].weight.data *= keep
    sparse = copy.deepcopy(dense)
    sparsify(sparse, {"0.weight": keep})
    x = torch.randn(3, 70_000, generator=generator(0, "test of kernels"))
    torch.testing.assert_close(sparse(x), dense(x))
