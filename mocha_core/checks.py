"""Checks of the fields users give, with errors that say what was expected and what was received."""

import operator
from collections.abc import Iterable, Sequence
from math import isfinite
from reprlib import Repr
from typing import Any

from mocha_core.errors import ConfigurationError, ShapeError, UnknownNameError

#: The largest count that kernels in C take, as they keep indices in 32 bits; and the largest window, stride or padding:
#: sums of several still fit into these.
MOST, MOST_WINDOW = 2**31 - 1, 2**28
#: How many names a list in a message has, and how many characters.
MOST_NAMES, MOST_CHARACTERS = 20, 400


class _Shown(Repr):
    """At most about 100 characters; arrays as dtype and shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = 80

    def repr1(self, x: Any, level: int) -> str:
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if isinstance(shape, tuple) and shape and dtype is not None and not isinstance(x, type):
            return f"array {dtype}{list(shape)}"
        return super().repr1(x, level)

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if abs(x) < 10**80 else f"an integer of {x.bit_length()} bits"


def shown(value: Any) -> str:
    """A value for a message: its `repr`, shortened if it is long; for an array, its dtype and shape."""
    text = _Shown().repr(value)
    return text if len(text) <= 200 else f"{text[:120]}... ({type(value).__name__})"


def clipped(name: object, most: int = 80) -> str:
    """A name or path for a message, shortened if it is long."""
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 20]}..."


def listed(names: Iterable[str], characters: int = MOST_CHARACTERS) -> str:
    """Names for a message; if there are many, the first ones and their number."""
    names = [clipped(name) for name in names]
    shown = names[:MOST_NAMES]
    while len(shown) > 1 and len(", ".join(shown)) > characters:
        shown.pop()
    more = f", ... ({len(names)} in all)" if len(shown) < len(names) else ""
    return ", ".join(shown) + more if names else "none"


def integer(owner: object, field: str, value: Any, at_least: int = 1, at_most: int | None = None) -> int:
    """`value` as an int, at least `at_least`, and at most `at_most` where that is given.

    Raises:
        ConfigurationError: it is something else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < at_least:
        raise ConfigurationError(f"{owner}: expected {field} to be an integer >= {at_least}, received {shown(value)}.")
    if at_most is not None and number > at_most:
        raise ConfigurationError(f"{owner}: expected {field} to be an integer <= {at_most}, received {shown(value)}.")
    return number


def pair(owner: object, field: str, value: Any, at_least: int = 1, words: str = "(width, height)") -> tuple[int, int]:
    """`value` as two integers of a window, each from `at_least` to `MOST_WINDOW`; one integer stands for both."""
    try:
        items = tuple(value) if isinstance(value, Iterable) else (value, value)
    except TypeError:  # an array without axes
        items = (value, value)
    if len(items) != 2 or isinstance(value, str):
        raise ConfigurationError(
            f"{owner}: expected {field} to be two integers {words}, or one for both; received {shown(value)}."
        )
    first, second = items
    return integer(owner, field, first, at_least, MOST_WINDOW), integer(owner, field, second, at_least, MOST_WINDOW)


def number(owner: object, field: str, value: Any, low: float = float("-inf"), high: float = float("inf")) -> float:
    """`value` as a finite float in [low, high]."""
    try:
        result = float("nan" if isinstance(value, str | bytes | bool) else value)
    except (TypeError, ValueError, OverflowError, Warning):  # NumPy warns of a masked element
        result = float("nan")
    if not isfinite(result) or not low <= result <= high:
        bounds = "" if low == -high == float("-inf") else f" in [{low:g}, {high:g}]"
        raise ConfigurationError(f"{owner}: expected {field} to be a finite number{bounds}, received {shown(value)}.")
    return result


def positive(owner: object, field: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    result = number(owner, field, value, low=0.0)
    if result == 0:
        raise ConfigurationError(f"{owner}: expected {field} to be above 0, received {shown(value)}.")
    return result


def instance(owner: object, field: str, value: Any, kind: type, example: str) -> Any:
    """`value`, which must be an instance of `kind`."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ConfigurationError(
            f"{owner}: expected {field} to be {article} {kind.__name__} such as {example}, received {shown(value)}."
        )
    return value


def names(owner: object, field: str, value: Any) -> tuple[str, ...]:
    """`value`, a sequence of blob names, as a tuple."""
    items = tuple(value) if isinstance(value, Sequence) else () if value is None else (value,)
    if isinstance(value, str) or not all(isinstance(item, str) and item for item in items):
        raise ConfigurationError(
            f"{owner}: expected {field} to be a list of blob names such as ['data'], received {shown(value)}."
        )
    return items


def known(owner: object, kind: str, name: str, names: Iterable[str]) -> None:
    """Raise `UnknownNameError` unless `name` is among the names that the owner has."""
    names = list(names)
    if not isinstance(name, str) or name not in names:
        from mocha_core.suggestions import close

        meant = close(name, names) if isinstance(name, str) else None
        hint = f"Did you mean '{meant}'? " if meant else ""
        given = f"'{clipped(name)}'" if isinstance(name, str) else shown(name)
        raise UnknownNameError(f"{owner} has no {kind} {given}. {hint}It has: {listed(names)}.")


def numbers(owner: object, value: Any) -> Any:
    """`value` as a NumPy array of real numbers; raises `ShapeError` if it is none, or has masked elements."""
    import numpy as np

    if type(value) is not np.ndarray and np.ma.is_masked(value):
        raise ShapeError(f"{owner}: expected an array without masked elements. Replace them: array.filled(0).")
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "buif":
        raise ShapeError(f"{owner}: expected an array of numbers, received {type(value).__name__} of {array.dtype}.")
    return array


def castable(owner: object, value: Any, dtype: str) -> Any:
    """`value` as a NumPy array of real numbers that fit into `dtype`; a floating dtype may round them.

    Raises:
        ShapeError: it is no such array, or the dtype is an integer or bool one that would change a number.
    """
    import numpy as np

    array = numbers(owner, value)
    if np.dtype(dtype).kind != "f":
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        odd = array[(cast != array) | ((cast < 0) != (array < 0))]
        if odd.size:
            raise ShapeError(f"{owner}: expected numbers that {dtype} holds, received {odd[0]}.")
    return array
