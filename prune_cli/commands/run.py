"""`prune-cli run RUN_DIR`: the process of one run of a sweep, told what to do by the request in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prune_cli import pipeline
from prune_cli.commands.prune import pruned
from prune_cli.common.errors import PruneCliError, RequestError, told
from prune_cli.common.terminal import note
from prune_cli.runs.files import write_json
from prune_cli.runs.places import Places
from prune_cli.runs.status import FAILED, end
from prune_cli.runs.store import REQUEST, read_manifest


def ask(job: pipeline.Job, folder: Path, places: Places) -> None:
    """Write into a run's folder what `run` needs to know: everything but the state of the disk."""
    compute = job.settings.compute
    request = {
        "config": job.settings.plain,
        "places": {name: str(path.absolute()) for name, path in vars(places).items() if path is not None},
        "cwd": str(Path.cwd()),
        "device": job.device.type,
        "processes": compute.processes,
    }
    write_json(folder / REQUEST, request)


def run(folder: Path) -> dict[str, Any]:
    """Do what the request in the folder asks for, going on where an earlier process stopped. Returns the record.

    Raises RequestError where there is no request, PruneCliError where data or weights are no longer what was planned.
    """
    if (found := read_manifest(folder)) is not None:
        return found
    try:
        request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        hint = "prune-cli sweep writes requests; for one run type prune-cli prune"
        raise RequestError(f"there is no {REQUEST} to follow", str(folder), hint) from None
    try:
        return _follow(request, folder)
    except Exception as error:  # also one before the run has begun
        end(folder, FAILED, told(error))
        raise


def _follow(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    places = Places(**{name: Path(path) for name, path in request["places"].items()})
    settings = pipeline.composer(places).from_plain(request["config"])
    job = pipeline.Workshop(places).job(settings)
    plan = pipeline.describe(job, "prune", *pipeline.outline(job))
    if plan["hash"] != folder.name:
        raise PruneCliError("data or weights have changed since this was planned", str(folder), "plan it again")
    note(pipeline.title(plan))
    return pruned(job, places, wait=True)
