"""The only door to Hydra's compose. Each distinct option is composed once; the points of a sweep are merges of them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf, SCMode
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from prune_cli.common.errors import ConfigError, nearest
from prune_cli.common.plain import PlainConfig
from prune_cli.config.catalogue import Catalogue, Choice
from prune_cli.config.options import Option, comments, options_of
from prune_cli.config.schema import SWEEPABLE, Point, Scoring, Settings, TopLevel

TOP_LEVEL = ("seed", "mask", "scoring")
PARTS = (*SWEEPABLE, *TOP_LEVEL)
IMPLIED = ("recipe",)  # groups whose option may follow from the others
BROKEN = (
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    ValueError,
    RecursionError,
)  # what Hydra makes of a bad file
LARGEST = 2**31 - 1  # of all numbers that count something
Parts = Mapping[str, type | Mapping[str, type]]  # group -> its option dataclass, or one for each name


class Composer:
    """Makes settings from points. `parts` says which dataclass types the options of a group.

    otherwise: what settings imply for the groups of IMPLIED, where neither the words nor an experiment choose them.
    """

    def __init__(
        self, catalogue: Catalogue, parts: Parts, otherwise: Callable[[Settings], dict[str, str]] | None = None
    ):
        self._catalogue, self._parts, self._otherwise = catalogue, parts, otherwise
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._made: dict[str, tuple[Any, Any]] = {}  # what decides a part -> the part as nested dicts, and built
        self._seen: dict[str, set[str]] = {}  # what decides a part -> the parts that it takes values from

    def settings(self, point: Point) -> Settings:
        """The typed, complete settings of one point. Raises ConfigError before any work starts."""
        return self._settings(Point(self._missing(point)) | point)

    def _missing(self, point: Point) -> dict[str, str]:
        """The options of groups in IMPLIED that were not typed and follow from the other settings: group -> option."""
        if self._otherwise is None or "experiment" in point.choices:
            return {}
        others = {key: value for key, value in point.values.items() if key.partition(".")[0] not in IMPLIED}
        implied = self._otherwise(self._settings(Point(point.choices, others)))
        return {group: option for group, option in implied.items() if group not in point.choices}

    def _settings(self, point: Point) -> Settings:
        """The settings of a point; parts that points of a sweep share are typed and built once."""
        keys = self._keys(point)
        if any(key not in self._made for key in keys.values()):
            plain = self._plain(point)
            keys = self._keys(point)  # now it is known which parts look at which others
            for part, key in keys.items():
                self._made.setdefault(key, (plain[part], self._build(part, plain)))
        found = {part: self._made[key] for part, key in keys.items()}
        plain = {part: copy.deepcopy(values) for part, (values, _) in found.items()}
        return Settings(**{part: made for part, (_, made) in found.items()}, plain=plain)

    def _keys(self, point: Point) -> dict[str, str]:
        """The cache key of each part of a point, which includes the keys of the parts that it interpolates from."""
        own = {part: _key(part, point) for part in PARTS}
        return {part: key + "".join(own[other] for other in self._taken(part, own)) for part, key in own.items()}

    def _taken(self, part: str, own: Mapping[str, str]) -> list[str]:
        """The parts that a part interpolates from, directly or through others."""
        found, left = {part}, [part]
        while left:
            new = self._seen.get(own[left.pop()], set()) - found
            found |= new
            left += new
        return sorted(found - {part})

    def _plain(self, point: Point) -> dict[str, Any]:
        """The values of one point as nested dicts."""
        config = self.typed(point)
        try:
            plain = OmegaConf.to_container(
                config, resolve=True, throw_on_missing=True, structured_config_mode=SCMode.DICT
            )
        except OmegaConfBaseException as error:
            raise _explained(error) from None
        plain = self._completed(plain, point)
        for part in PARTS:
            node = config._get_node(part)
            self._seen[_key(part, point)] = _named(
                OmegaConf.to_yaml(node) if isinstance(node, DictConfig) else str(node)
            )
        return plain

    def _completed(self, plain: Any, point: Point) -> dict[str, Any]:
        """The values, after the `complete` of each part's class, which adapts defaults to the typed options."""
        typed = [key.partition(".") for key in point.values]
        for part in SWEEPABLE:
            if (complete := getattr(self._part(part, plain), "complete", None)) is not None:
                plain[part] = complete(plain[part], {option for top, _, option in typed if top == part})
        return plain

    def from_plain(self, plain: PlainConfig) -> Settings:
        """The settings that a run's config.yaml holds. Raises ConfigError for a value out of range."""
        return Settings(**{part: self._build(part, plain) for part in PARTS}, plain=plain)

    def _build(self, part: str, plain: Mapping[str, Any]) -> Any:
        _check_size({part: plain.get(part)})
        if part == "scoring":
            return Scoring(**plain[part])
        return self._part(part, plain)(**_without_name(plain.get(part, {}))) if part in SWEEPABLE else plain[part]

    def grid(self, point: Point) -> dict[str, list[Any]]:
        """The sweep that the point's experiment carries: axis -> values."""
        grid = OmegaConf.to_container(self._hydra(self._experiment(point))).get("sweep") or {}  # type: ignore[union-attr]
        return {str(key): values if isinstance(values, list) else [values] for key, values in grid.items()}

    def options(self, group: str, choice: str) -> list[Option]:
        """The options of one choice of a group, with their defaults; an experiment has none. Raises ConfigError."""
        if group not in SWEEPABLE:
            return []
        config = self.typed(Point({group: self._catalogue.check(group, choice)}))
        part: Any = OmegaConf.to_container(config[group], resolve=True, structured_config_mode=SCMode.DICT)
        defaults = {key: None if value == MISSING else value for key, value in part.items()}
        described = comments(self._catalogue.text(f"{group}/{choice}"))
        return options_of(self._part(group, config), defaults, described, f"{group}.")

    def typed(self, point: Point) -> DictConfig:
        """The config of one point, every node typed by its dataclass, interpolations not yet resolved."""
        untyped = self._untyped(point)
        config = OmegaConf.create({group: self._typed_group(group, untyped) for group in SWEEPABLE})
        try:
            top = _typed(TopLevel, {key: untyped._get_node(key) for key in TOP_LEVEL})
            for key in TOP_LEVEL:
                config[key] = top._get_node(key)
            OmegaConf.set_struct(config, True)
        except OmegaConfBaseException as error:
            raise _explained(error) from None
        for key, value in point.values.items():
            _set(config, key, value)
        return config

    def _untyped(self, point: Point) -> DictConfig:
        base = self._experiment(point)
        config = self._hydra(base).copy()
        for group in point.choices.keys() & set(SWEEPABLE):
            config[group] = self._hydra((*base, _word(group, point)))[group]
        return config

    def _typed_group(self, group: str, untyped: DictConfig) -> DictConfig:
        try:
            node = _typed(self._part(group, untyped), _without_name(OmegaConf.to_container(untyped[group])))
        except OmegaConfBaseException as error:
            raise _explained(error, group) from None
        named = OmegaConf.create({"name": untyped[group].name}) if "name" in untyped[group] else OmegaConf.create()
        for key in node:
            named[key] = node._get_node(key)
        return named

    def _part(self, group: str, config: Mapping[Any, Any]) -> type:
        part = self._parts[group]
        if isinstance(part, type):
            return part
        name = str(config.get(group, {}).get("name", ""))
        if name not in part:
            what = f"its file names the {group} {name!r}, which neither prune-cli nor a plug-in registers"
            raise ConfigError(what, group, f"{nearest(name, part)} Or --plugin FILE.py, which registers it")
        return part[name]

    def _experiment(self, point: Point) -> tuple[str, ...]:
        return (_word("experiment", point),) if "experiment" in point.choices else ()

    def _hydra(self, words: tuple[str, ...]) -> DictConfig:
        if words not in self._composed:
            folder = self._catalogue.config_dir
            _ = self._catalogue.options  # refuses a folder with files that lead out of it
            search = [f"hydra.searchpath=[{_quoted(f'file://{folder.resolve()}')}]"] if folder else []
            try:
                with (
                    _stored(self._catalogue.choices),
                    initialize_config_module("prune_cli.configs", version_base="1.3"),
                ):
                    config = hydra_compose("config", overrides=[*search, *words])
            except BROKEN as error:
                raise ConfigError(f"this config does not compose: {_line(error)}", " ".join(words)) from None
            _check(config, words)
            self._composed[words] = config
        return self._composed[words]


@contextmanager
def _stored(choices: Sequence[Choice]) -> Iterator[None]:
    """Inside this context Hydra's ConfigStore holds the YAML of these plug-in choices. Raises ConfigError for a bad YAML."""
    nodes = [_node(choice) for choice in choices]
    store = ConfigStore.instance()
    for choice, node in zip(choices, nodes, strict=True):
        store.store(choice.name, node, group=choice.group)
    try:
        yield
    finally:
        for choice in choices:
            del store.repo[choice.group][f"{choice.name}.yaml"]


def _node(choice: Choice) -> DictConfig:
    try:
        node = OmegaConf.create(choice.text)
    except BROKEN as error:
        raise ConfigError(f"this config does not compose: {_line(error)}", str(choice.file)) from None
    if not isinstance(node, DictConfig):
        raise ConfigError("this file holds no KEY: VALUE lines", str(choice.file), f"name: {choice.name}")
    return node


def _check(config: DictConfig, words: tuple[str, ...]) -> None:
    """Refuse what the files add beside the groups, and a group that holds no options."""
    for key in map(str, config):
        if key not in (known := (*SWEEPABLE, *TOP_LEVEL, "sweep")):
            hint = "begin its file with # @package _global_" if key == "experiment" else nearest(key, known)
            raise ConfigError(f"there is no option {key!r}", " ".join(words), hint)
    for key in (*SWEEPABLE, "sweep"):
        if not isinstance(config.get(key, {}), DictConfig | dict):
            raise ConfigError(f"{key} holds no KEY: VALUE lines", " ".join(words), "prune-cli ls")


def _set(config: DictConfig, key: str, value: Any) -> None:
    """Give one option its typed value. Raises ConfigError, with what could be typed instead."""
    instead = _word_before(config, key)
    try:
        OmegaConf.update(config, key, value, merge=False)
    except OmegaConfBaseException as error:
        raise _explained(error, instead=instead, value=_text(value)) from None


def _word_before(config: DictConfig, key: str) -> str:
    """The current KEY=VALUE of a key, for a hint: of a group its first option, of a key inside a plain value that value."""
    above = key.rpartition(".")[0]
    if above and not isinstance(OmegaConf.select(config, above), DictConfig):
        return _word_before(config, above)
    if OmegaConf.is_missing(config if not above else OmegaConf.select(config, above), key.rpartition(".")[2]):
        return f"{key}=VALUE"
    value = OmegaConf.select(config, key)
    if isinstance(value, DictConfig):
        return _word_before(config, f"{key}.{next(option for option in map(str, value) if option != 'name')}")
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    """A value as it is typed."""
    plain = OmegaConf.to_container(value) if isinstance(value, ListConfig | DictConfig) else value
    return json.dumps(plain, separators=(",", ":")).strip('"').replace('"', "'")


def _check_size(plain: Mapping[str, Any], above: str = "") -> None:
    """Refuse a number that no computer counts up to; a seed counts nothing."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            _check_size(value, f"{above}{key}.")
        elif isinstance(value, int) and abs(value) > LARGEST and key != "seed":
            what, where = f"{above}{key} lies within ±{LARGEST:,}", f"{above}{key}={value}"
            raise ConfigError(what, where, f"a number nearer to 0, {LARGEST} at most")


def _typed(dataclass: type, options: dict[str, Any]) -> DictConfig:
    """These options, typed by their dataclass; they can still be written, though the dataclasses are frozen."""
    schema = OmegaConf.structured(dataclass)
    for node in (schema, *(schema._get_node(key) for key in schema)):
        if isinstance(node, DictConfig):
            OmegaConf.set_readonly(node, False)
    merged = OmegaConf.merge(schema, options)
    assert isinstance(merged, DictConfig)
    return merged


def _key(part: str, point: Point) -> str:
    """The cache key of one part of a point: its choice, its values and the experiment."""
    values = {key: value for key, value in point.values.items() if key.partition(".")[0] == part}
    return repr((part, point.choices.get("experiment"), point.choices.get(part), values))


def _named(text: str) -> set[str]:
    """The parts that interpolations name; all of them where one is not as plain as ${part.option}."""
    found = [re.match(r"(\w+)(?:\.\w+)*\}", rest) for rest in text.split("${")[1:]]
    plain = {name[1] for name in found if name is not None}
    return plain if len([name for name in found if name]) == len(found) and plain <= set(PARTS) else set(PARTS)


def _word(group: str, point: Point) -> str:
    return f"{group}={_quoted(point.choices[group])}"


def _quoted(text: str) -> str:
    """The text in quotes of Hydra's grammar."""
    return "'" + text.replace("'", "\\'") + "'"


def _without_name(options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "name"}


def _line(error: Exception) -> str:
    """The line of an error message that says what is wrong: the first, or of a YAML error the last, which has the position."""
    return str(error).strip().splitlines()[-1 if isinstance(error, YAMLError) else 0]


def _explained(
    error: OmegaConfBaseException, group: str | None = None, instead: str | None = None, value: str | None = None
) -> ConfigError:
    """OmegaConf's error in the words of the command line. value: what was typed; instead: a word that fits."""
    key = ".".join(part for part in (group, error.full_key) if part)
    node = error.parent_node
    name = key.rsplit(".", 1)[-1]
    if isinstance(node, DictConfig) and name and name not in node.keys():  # noqa: SIM118 - a missing value is not `in` it
        known = [str(option) for option in node if option != "name"]
        around = ("", "") if value is None else (key.removesuffix(name), f"={value}")  # a file's, or typed
        hint = nearest(name, known, *around) if known else "leave it out: this part has no options"
        return ConfigError(f"there is no option {key!r}", key, hint)
    return ConfigError(_line(error), key, instead or (f"{key}=VALUE" if key else None))
