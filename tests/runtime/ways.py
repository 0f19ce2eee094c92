"""Every way to compute the products of sparse layers, for tests."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from prune_cli.runtime import kernels, products
from prune_cli.runtime.products import KernelProducts, MatrixProducts, Products

WAYS = (*kernels.SETS, "csr", "dense")
ROOT = Path(__file__).parents[2]


def use(way: str, patch: pytest.MonkeyPatch) -> None:
    """Let all sparse layers of the test compute this way; skip it where the machine lacks the instructions."""
    chosen = way_called(way)
    patch.setattr(products, "best", lambda: chosen)


def way_called(name: str) -> Products:
    """One of WAYS."""
    if name not in kernels.SETS:
        return MatrixProducts(sparse=name == "csr")
    found = loaded()
    if found.use_set(kernels.SETS.index(name)) != name:
        pytest.skip(f"this machine has no {name}")
    return KernelProducts(found)


def loaded() -> kernels.Kernels:
    """The kernels, of the best instruction set; the test is skipped where there are none."""
    path = _library()
    if path is None:
        pytest.skip("no compiled kernels, and no compiler for them")
    return kernels.Kernels(path)


@cache
def _library() -> Path | None:
    """The installed file, else one built here as setuptools builds it; None where no compiler makes it."""
    built = next(kernels.FOLDER.glob("_kernels*.so"), None)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if built is not None or compiler is None:
        return built
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"][0]
    made = Path(mkdtemp()) / "kernels.so"
    command = [compiler, *options["extra-compile-args"], "-fPIC", "-shared", *options["sources"], "-o", str(made)]
    return made if subprocess.run(command, cwd=ROOT, check=False).returncode == 0 else None
