"""The fields of a choice, a dataclass of settings: types, ranges and sliders, and their check.

A range stands with the type, ``Annotated[float, Interval(ge=0, le=1)]``; a text beside it says
what a value must be where words made of the range would not do, a `Slider` what a form offers.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from dataclasses import MISSING, dataclass
from functools import lru_cache
from math import inf
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal

from annotated_types import Interval

from noisespace.errors import InputError

PLAIN = (str, bool, type(None), collections.abc.Mapping, collections.abc.Sequence)
FAR = 1e9  # no bound that anybody would want to be told


@dataclass(frozen=True)
class Slider:
    """What a form offers of a range that is no good slider itself."""

    low: float
    high: float
    step: float


Share = Annotated[float, Interval(ge=0, le=1)]
Threshold = Annotated[float, Interval(gt=0, lt=1), "in (0, 1)"]
Count = Annotated[int, Interval(ge=0, le=100_000)]
Seed = Annotated[
    int, Interval(ge=-(2**63), lt=2**64), "a whole number of 64 bits", Slider(0, 1000, 1)
]


@dataclass(frozen=True)
class Field:
    """One field. ``hint``: its type alone; ``marks``: what is annotated; MISSING: no default."""

    name: str
    hint: Any
    marks: tuple[Any, ...]
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, () where it is no choice of words."""
        return typing.get_args(self.hint) if typing.get_origin(self.hint) is Literal else ()

    @property
    def interval(self) -> Interval:
        return next((mark for mark in self.marks if isinstance(mark, Interval)), Interval())

    @property
    def low(self) -> float:
        return bound(self.interval.ge, self.interval.gt, -inf)

    @property
    def high(self) -> float:
        return bound(self.interval.le, self.interval.lt, inf)

    @property
    def slider(self) -> Slider | None:
        return next((mark for mark in self.marks if isinstance(mark, Slider)), None)

    @property
    def brackets(self) -> str:
        """The range as (0, 1]; "" without one."""
        if min(-self.low, self.high) >= FAR:
            return ""
        left = "(" if self.interval.ge is None else "["
        right = ")" if self.interval.le is None else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def check(self, value: Any, of: str) -> None:
        """Raises InputError for a value of another type or outside the range."""
        shared = self.name == "guidance"  # the edit has one too
        what = f"{self.name} of {of}" if shared else self.name
        if not fits(value, self.hint):
            must = "map words to values" if is_mapping(self.hint) else f"be {self.words(True)}"
            raise InputError(f"{what} must {must}, got {value!r}")
        for word, one in value.items() if is_mapping(self.hint) else ():
            kind = typing.get_args(self.hint)[1]
            dataclasses.replace(self, name=f"{what} of {word!r}", hint=kind).check(one, of)
        if not all(inside(number, self.interval) for number in numbers(value)):
            raise InputError(f"{what} must be {self.words()}, got {value!r}")

    def words(self, typed: bool = False) -> str:
        """What it must be, in words; ``typed`` where the type is in question too."""
        said = next((mark for mark in self.marks if isinstance(mark, str)), "")
        if said or self.choices:
            return said or join_words([f'"{word}"' for word in self.choices])
        kinds = [kind for kind in kinds_of(self.hint) if kind is not type(None)]
        text = join_words(list(dict.fromkeys(word_of(kind) for kind in kinds)))
        r, empty = self.interval, " or None" * (type(None) in kinds_of(self.hint))
        if r.gt is not None and r.le is not None:
            half = f"above {r.gt:g} and at most {r.le:g}"
            return f"{text} {half}{empty}" if typed else half
        if r.ge is not None and (r.le, r.lt) == (None, None):
            return f"{text} from {r.ge:g} on{empty}"
        return f"{text} in {self.brackets}{empty}" if self.brackets else text + empty


def check_fields(choice: Any) -> None:
    """Raises InputError for the first field of a choice whose value does not fit."""
    if dataclasses.is_dataclass(choice) and not isinstance(choice, type):
        name = type(choice).__module__.rpartition(".")[2].replace("_", "-")
        for field in fields_of(type(choice)):
            field.check(getattr(choice, field.name), name)


@lru_cache(maxsize=256)
def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a dataclass; of any type where its hints name what is not at hand."""
    try:
        plain = typing.get_type_hints(cls)
        full = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # somebody's own class, in a function
        plain = full = {}
    return tuple(
        Field(f.name, plain.get(f.name, Any), marks_of(full.get(f.name, Any)), default_of(f))
        for f in dataclasses.fields(cls)
    )


def default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def marks_of(hint: Any) -> tuple[Any, ...]:
    """What is annotated to a type and to its parts."""
    own = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    inner = typing.get_args(hint)[:1] if own else typing.get_args(hint)
    return (*own, *(mark for part in inner for mark in marks_of(part)))


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union; a type alone is one."""
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return typing.get_args(hint) if union else (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far as that is for the type to say."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, type(parts[0])) and value in parts
    if origin is tuple:  # of words, their class says how many
        many = str in parts or Ellipsis in parts
        row = isinstance(value, (tuple, list))
        return row and (many or (len(value) == len(parts) and all(map(fits, value, parts))))
    if origin in (int, float):  # numpy's too
        number = isinstance(value, Integral if origin is int else Real)
        return number and not isinstance(value, bool) and bool(abs(value) < inf)  # type: ignore[operator]
    return origin not in PLAIN or isinstance(value, origin)


def is_mapping(hint: Any) -> bool:
    return typing.get_origin(hint) is collections.abc.Mapping


def numbers(value: Any) -> list[Any]:
    """The numbers of a value, or of a pair."""
    parts = value if isinstance(value, (tuple, list)) else [value]
    return [v for v in parts if isinstance(v, Real) and not isinstance(v, bool)]


def inside(number: float, r: Any) -> bool:
    low = (r.ge is None or number >= r.ge) and (r.gt is None or number > r.gt)
    return low and (r.le is None or number <= r.le) and (r.lt is None or number < r.lt)


def bound(closed: Any, opened: Any, none: float) -> float:
    return next((end for end in (closed, opened) if end is not None), none)


def word_of(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is tuple:
        return "a pair (a, b)"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
    return {**words, type(None): "None"}.get(kind, getattr(kind, "__name__", str(kind)))


def join_words(words: list[str]) -> str:
    """a, b or c."""
    return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])
