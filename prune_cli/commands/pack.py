"""`prune-cli pack`: finished runs without their weights, small enough to be committed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prune_cli.commands.verify import there
from prune_cli.common.errors import RequestError
from prune_cli.runs.files import SEAL, check, write_sealed, write_text
from prune_cli.runs.status import MANIFEST
from prune_cli.runs.store import PACKED, digest_of, find, read_manifest

KEPT = ("config.yaml", "metrics.csv", "layers.csv")  # and the manifest, with the digest of the mask and of every file


def pack(runs: Iterable[str], runs_dir: Path, to: Path) -> list[dict[str, Any]]:
    """Copy the runs, or all finished ones, to another runs folder; they count as finished there. Raises RequestError.

    A score is no run of its own: it is left out where no run is named.
    """
    if to.resolve() == runs_dir.resolve():
        raise RequestError("runs cannot be packed into their own folder", f"--to {to}", "--to ANOTHER_FOLDER")
    folders = [find(runs_dir, run) for run in runs] or [
        folder for folder in there(runs_dir, [MANIFEST]) if folder.parent.name != "score"
    ]
    return [_packed(folder, to) for folder in folders]


def _packed(folder: Path, to: Path) -> dict[str, Any]:
    record, target = read_manifest(folder) or {}, to / folder.parent.name / folder.name
    for name in KEPT:
        if (folder / name).exists():
            check(folder / name, digest_of(record, name))
            write_text(target / name, (folder / name).read_text(encoding="utf-8"))
    said = {key: value for key, value in record.items() if key != SEAL}
    write_sealed(target / MANIFEST, said | {PACKED: True})
    return {"run": str(target), "bytes": sum(path.stat().st_size for path in target.iterdir())}
