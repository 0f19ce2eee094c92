"""What every record says about how it was made: versions, machine, command and the state of the source."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prune_cli.common.lazy import torch

PACKAGES = ("prune-cli", "torch", "torchvision", "timm", "hydra-core", "numpy", "safetensors")


def provenance(device: torch.device, argv: Sequence[str]) -> dict[str, Any]:
    """Versions, device, threads, git state and time (UTC) of this process. argv: the command that was typed."""
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": list(argv),
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "git": git_state(Path(__file__).parent),
    }


def versions() -> dict[str, str]:
    """The version of Python and of each package that can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that `folder` belongs to and whether tracked files differ; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout.strip()

    try:
        tracked = git("ls-files", "--", Path(__file__).name)
        return (
            {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
            if tracked
            else None
        )
    except (OSError, subprocess.CalledProcessError):
        return None
