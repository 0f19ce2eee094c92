"""A virtual environment with prune-cli[ray]: it cannot be ours, whose joblib wants a newer cloudpickle than Ray's launcher.

Made once, in a few minutes, and kept in .venv-ray (PRUNE_CLI_RAY_VENV names another folder).
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]


def ray_python() -> Path:
    """The Python of the environment."""
    folder = Path(os.environ.get("PRUNE_CLI_RAY_VENV", ROOT / ".venv-ray"))
    python = folder / "bin" / "python"
    with FileLock(f"{folder}.lock"):  # two tests may want it at once
        _make(folder, python)
    return python


def _make(folder: Path, python: Path) -> None:
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        same = [f"{name}=={version(name)}" for name in ("torch", "torchvision")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *same], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[ray]"], check=True)
        (folder / ".ready").touch()
