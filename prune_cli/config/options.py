"""The options that can be typed: their names, types and defaults, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from prune_cli.config.schema import Scoring, TopLevel


@dataclass(frozen=True)
class Option:
    """One option: `name` is what stands before the = of KEY=VALUE, `type` as Python writes it; default: None where there
    is none, or where it is null. description: the comment beside its default, None where there is no comment."""

    name: str
    type: str
    default: Any
    description: str | None


def comments(text: str) -> dict[str, str]:
    """The comment behind each KEY: VALUE of a YAML text, inside a nested part too."""
    return dict(re.findall(r"^[ ]*(\w+):[^#\n]*#[ ]*(.+)$", text, re.M))


def options_of(part: type, defaults: Mapping[str, Any], described: Mapping[str, str], prefix: str = "") -> list[Option]:
    """The options of a part's dataclass, with these defaults."""
    return [
        Option(prefix + field.name, str(field.type), defaults.get(field.name), described.get(field.name))
        for field in fields(part)
    ]


def top_level(config: str) -> list[Option]:
    """The options outside the groups. config: the text of config.yaml, whose comments describe them."""
    described = comments(config)
    outside = [
        option for option in options_of(TopLevel, dict(_defaults(TopLevel)), described) if option.name != "scoring"
    ]
    return outside + options_of(Scoring, dict(_defaults(Scoring)), described, "scoring.")


def _defaults(part: type) -> Iterator[tuple[str, Any]]:
    for field in fields(part):
        if field.default is not MISSING:
            yield field.name, field.default
