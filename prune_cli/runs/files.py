"""Files are whole or absent: written under a temporary name that ends in .tmp, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends well, remove it if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write a YAML file in the order of its keys, whole or not at all."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(dict(value))))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, whole or not at all."""
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with whole(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        named = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(named, temporary, dict(metadata or {}) if named else None)  # no tensors and no metadata: not readable
        temporary.chmod(mode)  # safetensors leaves a file that only its owner can read


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
