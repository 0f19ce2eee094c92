"""Labels that tell runs apart: in what options they differ, in as few words as do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prune_cli.common.plain import Options


def labels(titles: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The titles; entries with the same title but different parts also say in what they differ."""
    flats = [flat(part) for part in parts]
    peers: dict[str, list[Options]] = {}
    for title, own in zip(titles, flats, strict=True):
        peers.setdefault(title, []).append(own)
    differing = {title: _differing(group) for title, group in peers.items()}
    return [_label(title, own, differing[title]) for title, own in zip(titles, flats, strict=True)]


def _label(title: str, own: Mapping[str, Any], differing: Sequence[str]) -> str:
    """An option that is left out of the words has its default; where that is all of them, the label says so."""
    shown = {key: own[key] for key in differing if key in own}
    default = f"{differing[0]}=default" if len(differing) == 1 else "default"
    return " ".join(part for part in (title, f"[{words(shown) or default}]" if differing else "") if part)


def _differing(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys under which not all of these have the same value."""
    keys = {key for own in flats for key in own}
    return sorted(key for key in keys if len({repr(own.get(key)) for own in flats}) > 1)


def flat(part: Mapping[str, Any], prefix: str = "") -> Options:
    """Nested options by their dotted keys."""
    found: Options = {}
    for key, value in part.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def words(options: Mapping[str, Any]) -> str:
    """The options as text: KEY=VALUE, KEY=VALUE …"""
    return ", ".join(f"{key}={short(value)}" for key, value in options.items())


def short(value: Any) -> str:
    """A value as it is typed; of a digest the first eight digits."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:8] if len(text) == 64 else text
