"""The one place where overrides are read: Hydra's grammar, made to fit what people type.

`sparsity=98` is a number to Hydra and refused as the name of an option; here it is the option 98, and a number that
has no file becomes `sparsity=custom sparsity.percent=…`. One between 0 and 1 is refused, for it looks like a share:
less than a percent is typed as `sparsity.percent=…`. Sweeps (`a,b`, `range(…)`, `choice(…)`, `glob(…)`) become axes.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, RangeSweep, ValueType
from hydra.errors import HydraException

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.config.catalogue import Catalogue
from prune_cli.config.schema import GROUPS, Point

TOP = (*GROUPS, "scoring", "seed", "mask")
SWEPT = ("prune", "train")  # the commands of one run that a sweep makes too
MOST = 10_000  # values of one range
Axes = dict[str, list[Point]]


def parse(words: Iterable[str], catalogue: Catalogue) -> tuple[Point, Axes]:
    """Split overrides into what is fixed and the axes of a sweep, both normalised. Raises ConfigError."""
    fixed, axes = Point(), Axes()
    seen: set[str] = set()
    for override in map(_read, words):
        key = override.key_or_group
        points = axis(key, _values(override, catalogue), catalogue)
        keys = {key}.union(*(point.values for point in points))  # sparsity=97.3 gives sparsity.percent too
        for twice in sorted(keys & seen):
            line = override.input_line
            raise ConfigError(f"{twice} is given twice", line, f"one of the two; a sweep takes {twice}=a,b")
        seen |= keys
        if override.is_sweep_override():
            axes[key] = points
        else:
            fixed |= points[0]
    return fixed, axes


def axis(key: str, values: Iterable[Any], catalogue: Catalogue) -> list[Point]:
    """The points of one axis: a group's options or the values of a dotted key. Raises ConfigError."""
    if key in GROUPS:
        return [_choose(key, value, catalogue) for value in values]
    top, _, option = key.partition(".")
    values = list(values)
    if top not in TOP:
        after = f"{'.' if option else ''}{option}={','.join(map(str, values))}"
        raise ConfigError(f"there is no option {key!r}", key, nearest(top, TOP, after=after))
    if top in GROUPS and option == "name":
        raise ConfigError(f"the name of a {top} cannot be changed", key, f"prune-cli ls {top}")
    return [Point(values={key: value}) for value in values]


def single(words: Iterable[str], catalogue: Catalogue, command: str) -> Point:
    """As `parse`, for a command that makes one run. Raises ConfigError where a sweep is typed."""
    words = list(words)
    fixed, axes = parse(words, catalogue)
    for key in axes:
        hint = shlex.join(["prune-cli", "sweep", *words]) if command in SWEPT else "a command for each value"
        raise ConfigError(f"{command} takes one value for {key}", key, hint)
    return fixed


def value_of(text: str) -> Any:
    """The one value that a text is in Hydra's grammar: a number, a word, a list … Raises ValueError."""
    try:
        override = OverridesParser.create().parse_override(f"value={text}")
    except HydraException as error:
        raise ValueError(str(error).strip()) from None
    if override.is_sweep_override():
        raise ValueError("this is more than one value")
    return override.value()


def _read(word: str) -> Override:
    if "${" in word:
        raise ConfigError("interpolations cannot be typed", word, "write the value itself")
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        raise ConfigError("this is not KEY=VALUE", word, _well_formed(word)) from None
    if override.key_or_group.split(".")[0] == "hydra":
        raise ConfigError("Hydra's own settings cannot be changed", word, "prune-cli ls")
    if override.type != OverrideType.CHANGE or override.package is not None:
        raise ConfigError("only KEY=VALUE is understood, not +, ~ or @", word, "prune-cli ls")
    return override


def _well_formed(word: str) -> str:
    """A hint: the word quoted for both the shell and Hydra, or an example where its meaning is unclear."""
    key, equals, value = word.partition("=")
    if equals and re.fullmatch(r"[\w.]+", key) and not set("'\"$`\\!") & set(value):
        return f"\"{key}='{value}'\", in both pairs of quotes: the shell takes one of them away"
    return f"prune-cli ls {key}" if key in GROUPS else "such as scorer=snip"


def _values(override: Override, catalogue: Catalogue) -> list[Any]:
    if override.value_type == ValueType.INTERVAL_SWEEP:
        hint = f"'{override.key_or_group}=range(0,1,0.1)', or other values"
        raise ConfigError("an interval has no end of values", override.input_line, hint)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return _glob(override, catalogue)
    if not override.is_sweep_override():
        return [override.value()]
    _check_length(override)
    values = list(override.sweep_iterator(transformer=Override._convert_value))  # quoted words as plain ones
    if not values:
        raise ConfigError("this range is empty", override.input_line, "a stop beyond the start")
    return values


def _check_length(override: Override) -> None:
    """Refuse a range before it is written out: of `range(0,inf)` there is no end."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return
    try:
        steps = (value.stop - value.start) / value.step  # type: ignore[operator]
    except ArithmeticError:
        steps = math.inf
    if not steps <= MOST:
        hint = "a smaller stop or a larger step"
        raise ConfigError(f"this range has more than {MOST:,} values", override.input_line, hint)


def _glob(override: Override, catalogue: Catalogue) -> list[str]:
    pattern, group = override.value(), override.key_or_group
    names: list[str] = pattern.filter(list(catalogue.options.get(group, {}))) if isinstance(pattern, Glob) else []
    if not names:
        hint = f"prune-cli ls {group}" if group in GROUPS else "the values themselves: a glob names options of a group"
        raise ConfigError("this glob names no option", override.input_line, hint)
    return names


def _choose(group: str, value: Any, catalogue: Catalogue) -> Point:
    if value is None and group == "experiment":
        return Point()
    percent = _number(value) if group == "sparsity" else None
    if percent is None:
        return Point({group: catalogue.check(group, str(value))})
    names = [name for name in catalogue.options[group] if _number(name) == percent]
    if not names and 0 < percent < 1:
        hint = f"did you mean sparsity={100 * percent:g}? For {percent:g} % type sparsity.percent={percent:g}"
        raise ConfigError(f"sparsity is a percentage, and {percent:g} looks like a share", f"sparsity={value}", hint)
    return Point({group: names[0]}) if names else Point({group: "custom"}, {"sparsity.percent": percent})


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
