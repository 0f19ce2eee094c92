"""Pickles of arrays, strings, numbers, lists and dictionaries, read opcode by opcode: no pickle is ever loaded.

pickletools takes a file apart, which runs nothing. The names in it are only compared with those that numpy writes: nothing
is imported or called because a file says so. A pickle.Unpickler that refuses names would not be enough: ten bytes that
put one value into the last place of its memo make it fill 64 GB with zeros.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NUMBERS = "biuf"  # the kinds of numpy's types that hold nothing else
Step = Callable[["_Machine", Any], object]


def read_arrays(raw: bytes) -> Any:
    """The object in a pickle; strings of Python 2 are decoded as latin1. Raises ValueError for a damaged or hostile pickle."""
    machine = _Machine(2 * len(raw))
    try:
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name not in STEPS:
                raise ValueError(f"it holds {opcode.name}, which no file of arrays needs")
            STEPS[opcode.name](machine, argument)
        return machine.pop()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{error}" or type(error).__name__) from None


class _Mark:
    """Where the items of a list or a dictionary begin on the stack."""


@dataclass
class _Type:
    """The dtype of an array's numbers; a later BUILD opcode sets the byte order."""

    numbers: np.dtype


@dataclass(frozen=True)
class _Constructor:
    """The function that stands for one of the global names that numpy pickles."""

    make: Callable[..., Any]


@dataclass
class _Machine:
    """The machine that a pickle's opcodes run on: a stack of values and a memo of some of them.

    left: bytes that arrays may still take; numpy writes each only once, so a file that needs more of them is a bomb.
    """

    left: int
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        """Push a value onto the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Pop the top value."""
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Pop all values above the topmost mark, and the mark; the lowest comes first."""
        found: list[Any] = []
        while not isinstance(value := self.pop(), _Mark):
            found.append(value)
        return found[::-1]

    def pop_many(self, count: int) -> tuple[Any, ...]:
        """Pop `count` values; the lowest comes first."""
        return tuple([self.pop() for _ in range(count)][::-1])

    def push_constructor(self, name: str) -> None:
        """Push the constructor of a global name. Raises ValueError for a name that numpy does not pickle."""
        if name not in CONSTRUCTORS:
            raise ValueError(f"it asks for {name}, which no file of arrays needs")
        self.push(CONSTRUCTORS[name])

    def call(self) -> None:
        """Pop a constructor and its arguments, and push its result."""
        maker, arguments = self.pop_many(2)
        self.push(made := _is(_Constructor, maker).make(*_is(tuple, arguments)))
        self.count(len(made) if isinstance(made, bytes) else getattr(made, "nbytes", 0))

    def build(self) -> None:
        """Pop a state and set it on the array or dtype below."""
        state, value = self.pop(), self.stack[-1]
        if isinstance(value, _Type):
            value.numbers = value.numbers.newbyteorder(_is(str, state[1]))
        else:
            _, shape, of, fortran, raw = state
            shape, numbers, raw = _checked(shape, of, raw)
            _is(np.ndarray, value).__setstate__(
                (1, shape, numbers, bool(fortran), raw)
            )  # in place: the memo may know it
            self.count(value.nbytes)

    def count(self, made: int) -> None:
        """Subtract `made` bytes from those that are left. Raises ValueError where none are left."""
        self.left -= made
        if self.left < 0:
            raise ValueError("it unpacks to more than it holds")

    def extend(self, values: Sequence[Any]) -> None:
        """Append the values to the list on top of the stack."""
        _is(list, self.stack[-1]).extend(values)

    def update(self, values: Sequence[Any]) -> None:
        """Add alternating keys and values to the dictionary on top of the stack."""
        _is(dict, self.stack[-1]).update(_pairs(values))

    def memoize(self, place: int) -> None:
        """Store the top value in the memo under a number."""
        self.memo[place] = self.stack[-1]


def _pairs(values: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _is(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"it takes a {type(value).__name__} for another thing")
    return value


def _bytes(value: Any, *_: Any) -> bytes:
    """The bytes in a value: Python 2 pickles bytes as strings, and Python 3 pickles them for it as latin1 text."""
    return value.encode("latin1") if isinstance(value, str) else bytes(_is(bytes | bytearray, value))


def _type(text: Any, *_: Any) -> _Type:
    found = np.dtype(_is(str, text))
    if found.kind not in NUMBERS:
        raise ValueError(f"its arrays are of {found}, not of numbers")
    return _Type(found)


def _checked(shape: Any, of: Any, raw: Any) -> tuple[tuple[int, ...], np.dtype, bytes]:
    numbers, raw = _is(_Type, of).numbers, _bytes(raw)
    sides = [_is(int, side) for side in _is(tuple, shape)]
    if min(sides, default=0) < 0 or math.prod(sides) * numbers.itemsize != len(raw):
        raise ValueError(f"{len(raw):,} bytes make no array of {numbers} in the shape {sides}")
    return tuple(sides), numbers, raw


def _array(raw: Any, of: Any, shape: Any = (), order: Any = "C") -> np.ndarray:
    shape, numbers, raw = _checked(shape, of, raw)
    return np.frombuffer(raw, numbers).reshape(shape, order="F" if order == "F" else "C").copy("K")


def _named(*names: str) -> list[str]:
    """The full names of functions in numpy's core package, as before version 2 and since."""
    return [f"numpy.{core}.{name}" for core in ("core", "_core") for name in names]


CONSTRUCTORS = {
    "numpy.dtype": _Constructor(_type),
    "numpy.ndarray": _Constructor(lambda: None),  # only ever an argument of _reconstruct
    "_codecs.encode": _Constructor(_bytes),
    **dict.fromkeys(_named("multiarray._reconstruct"), _Constructor(lambda *_: np.zeros(0, np.uint8))),
    **dict.fromkeys(_named("multiarray.scalar"), _Constructor(lambda of, raw: _array(raw, of)[()])),
    **dict.fromkeys(_named("numeric._frombuffer"), _Constructor(_array)),
}


def _all(names: str, step: Step) -> dict[str, Step]:
    return dict.fromkeys(names.split(), step)


STEPS: dict[str, Step] = {
    **_all("PROTO FRAME STOP", lambda *_: None),
    **_all("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _Machine.push),
    **_all("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8", _Machine.push),
    **_all("BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8", _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.push(_Mark()),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.push(_pairs(machine.pop_to_mark())),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(machine.pop_many(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop_many(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop_many(3)),
    "APPEND": lambda machine, _: machine.extend(machine.pop_many(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.update(machine.pop_many(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_to_mark()),
    "MEMOIZE": lambda machine, _: machine.memoize(len(machine.memo)),
    **_all("PUT BINPUT LONG_BINPUT", _Machine.memoize),
    **_all("GET BINGET LONG_BINGET", lambda machine, place: machine.push(machine.memo[place])),
    "GLOBAL": lambda machine, name: machine.push_constructor(name.replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.push_constructor(".".join(machine.pop_many(2))),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
