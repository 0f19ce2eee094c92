"""Identities of runs and their hashes, which cover all that changes a run's numbers and nothing else.

An option left at its dataclass default stays out, so a new option (whose default is the old behaviour) renames no
old run. Options whose field says `field(metadata=NOT_IN_HASH)` (paths, workers, device; common/device.py) never count; the
weights and the data count by their digests. A part whose same options begin to mean other numbers raises its class
attribute `version` (1 where it has none): above 1 it is part of the name, and no old run is taken for a new one. A part
that is not of this package, a plug-in's, counts with the sha256 of its source file (`source_sha256`). A part whose options can say one thing in several ways has a property `canonical`, the one of them that counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from prune_cli.common.plain import Identity, Options

CODE = "_code"  # the end of a key that stands beside the name of a part


def changed_options(part: Any) -> Options:
    """The options of a dataclass instance, in its canonical form, that differ from their defaults; with its registered
    name if it has one."""
    part = getattr(part, "canonical", part)
    found = {"name": part.name} if hasattr(part, "name") else {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.metadata.get("identity", True) and value != _default(field):
            found[field.name] = value
    return found


def versioned_options(part: Any) -> Options:
    """`changed_options`, with what stands for the code of the part (`code_of`)."""
    return changed_options(part) | code_of(part)


def code_of(part: Any) -> Options:
    """The class's `version` where that is above 1, and the `source_sha256` of one that is not of this package."""
    version, source = getattr(part, "version", 1), getattr(part, "source_sha256", None)
    return ({"version": version} if version > 1 else {}) | ({"source_sha256": source} if source else {})


def code_beside(key: str, part: Any) -> Options:
    """`code_of` a part of which an identity holds the name alone, or nothing, under `key`; empty for one of this package."""
    code = code_of(part)
    return {f"{key}{CODE}": {"name": part.name} | code} if code else {}


def sources(identity: Identity) -> Iterator[tuple[str, str, str]]:
    """Kind, name and source_sha256 of each part of a run that was a plug-in's."""
    for kind in ("model", "dataset", "scorer"):
        part = identity.get(kind, {})
        if isinstance(part, Mapping) and "source_sha256" in part:
            yield kind, part["name"], part["source_sha256"]
    for kind, key in (("control", "control"), ("target", "removal")):
        if "source_sha256" in (code := identity.get(f"{key}{CODE}", {})):
            yield kind, code["name"], code["source_sha256"]


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def run_hash(material: Identity) -> str:
    """12 hex digits of the sha256 of the canonical JSON of `material`."""
    canonical = json.dumps(material, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
