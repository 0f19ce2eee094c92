"""Frozen dataclasses that are written as JSON objects and read back: a key for each field, and no key is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from prune_cli.common.plain import JsonObject

IF_KNOWN = {"if_known": True}  # metadata of a field that has no key where its value is None
LAST = IF_KNOWN | {"last": True}  # of one whose key stands behind those of all other fields
SCALARS: dict[Any, Any] = {
    int: int,
    float: int | float,
    str: str,
    bool: bool,
    NoneType: NoneType,
}  # types and their values


class WrongValueError(ValueError):
    """The value of a key is not of the type of its field."""

    def __init__(self, key: str, value: Any, kind: Any):
        self.key = key
        super().__init__(f"{key!r} is {repr(value)[:40]}, not {kind}")


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

        Raises WrongValueError where a value is not of the type of its field; inf and NaN are of none.
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
            if not fits(value, _types(cls)[one.name]):  # type: ignore[arg-type]  # a class has a hash
                raise WrongValueError(one.name, value, one.type)
            yield one.name, value if kind is None or value is None else kind.from_json(value)


@cache
def _types(cls: type[JsonFields]) -> dict[str, Any]:
    """The type of each field, by its name."""
    return get_type_hints(cls)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a type of a field. Where that has values of its own, theirs count too."""
    inner = get_args(kind)
    if isinstance(kind, UnionType):
        return any(fits(value, each) for each in inner)
    if kind in SCALARS:
        right = isinstance(value, SCALARS[kind]) and (kind is bool or not isinstance(value, bool))
        return right and (not isinstance(value, float) or isfinite(value))
    if get_origin(kind) in (list, Sequence):
        return isinstance(value, list | tuple) and all(fits(each, inner[0]) for each in value)
    return kind is Any or (isinstance(value, Mapping) and all(fits(each, inner[1]) for each in value.values() if inner))


def _written(one: Field[Any], value: Any) -> JsonObject:
    if value is None and one.metadata.get("if_known"):
        return {}
    plain = value.to_json() if isinstance(value, JsonFields) else value
    return plain if one.metadata.get("inline") else {one.name: plain}
