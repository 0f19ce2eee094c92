"""What every record says about how it was made: versions, machine, command and the state of the source."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prune_cli.common.lazy import torch
from prune_cli.common.plain import JsonObject
from prune_cli.runs.json_fields import JsonFields

PACKAGES = ("prune-cli", "torch", "torchvision", "timm", "hydra-core", "numpy", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Provenance(JsonFields):
    """How a record was made: finished_at in UTC, argv: the command that was typed, device: the name of the GPU, or `cpu`,
    git: commit of the source and whether it was changed; None outside a checkout."""

    finished_at: str
    argv: Sequence[str]
    versions: Mapping[str, str]
    device: str
    threads: int
    git: JsonObject | None


def provenance(device: torch.device, argv: Sequence[str]) -> Provenance:
    """Versions, device, threads, git state and time (UTC) of this process. argv: the command that was typed."""
    return Provenance(
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=list(argv),
        versions=versions(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        git=git_state(Path(__file__).parent),
    )


def versions() -> dict[str, str]:
    """The version of Python and of each package that can change a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path) -> JsonObject | None:
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
