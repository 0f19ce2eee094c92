"""Frozen dataclasses that are written as JSON objects and read back: a key for each field, and no key is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self

from prune_cli.common.plain import JsonObject

IF_KNOWN = {"if_known": True}  # metadata of a field that has no key where its value is None
LAST = IF_KNOWN | {"last": True}  # of one whose key stands behind those of all other fields


def part(kind: type[JsonFields], **metadata: Any) -> dict[str, Any]:
    """Metadata of a field that holds JsonFields of its own. inline: its keys stand among those of the whole object."""
    return {"part": kind, **metadata}


@dataclass(frozen=True, kw_only=True)
class JsonFields:
    """An object with a key for each field, in the order of the fields; from_json(x.to_json()) == x.

    extra: keys that no field has, such as those of a newer version; they are written back behind all others.
    """

    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The object that `to_json` gave. Raises KeyError, with the key, where a field without a default has none.

        Raises TypeError or ValueError where the value of a part is no JSON object.
        """
        rest = dict(value)
        return cls(**dict(_read(cls, rest)), extra=rest)

    def to_json(self) -> JsonObject:
        """The fields by name; one that is not known (IF_KNOWN) has no key."""
        plain: JsonObject = {}
        for one in _ordered(type(self)):
            plain |= _written(one, getattr(self, one.name))
        return plain | dict(self.extra)


def _ordered(cls: type[JsonFields]) -> list[Field[Any]]:
    own = [one for one in fields(cls) if one.name != "extra"]
    return sorted(own, key=lambda one: one.metadata.get("last", False))


def _read(cls: type[JsonFields], rest: JsonObject) -> Iterator[tuple[str, Any]]:
    """The value of each field; its keys are taken out of `rest`."""
    for one in _ordered(cls):
        kind: type[JsonFields] | None = one.metadata.get("part")
        if kind is not None and one.metadata.get("inline"):
            yield one.name, kind(**dict(_read(kind, rest)))
        elif one.name in rest or one.default is MISSING:
            value = rest.pop(one.name)
            yield one.name, value if kind is None or value is None else kind.from_json(value)


def _written(one: Field[Any], value: Any) -> JsonObject:
    if value is None and one.metadata.get("if_known"):
        return {}
    plain = value.to_json() if isinstance(value, JsonFields) else value
    return plain if one.metadata.get("inline") else {one.name: plain}
