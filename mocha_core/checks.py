"""Checks of the fields users give, with errors that say what was expected and what was received."""

import operator
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

from mocha_core.errors import ConfigurationError, ShapeError, UnknownNameError


def integer(owner: object, field: str, value: Any, at_least: int = 1) -> int:
    """`value` as an int, at least `at_least`.

    Raises:
        ConfigurationError: it is something else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < at_least:
        raise ConfigurationError(f"{owner}: expected {field} to be an integer >= {at_least}, received {value!r}.")
    return number


def pair(owner: object, field: str, value: Any, at_least: int = 1) -> tuple[int, int]:
    """`value` as (width, height), each at least `at_least`."""
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(items) != 2:
        raise ConfigurationError(f"{owner}: expected {field} to be two integers (width, height), received {value!r}.")
    width, height = items
    return integer(owner, field, width, at_least), integer(owner, field, height, at_least)


def number(owner: object, field: str, value: Any, low: float = float("-inf"), high: float = float("inf")) -> float:
    """`value` as a finite float in [low, high]."""
    try:
        result = float("nan" if isinstance(value, str | bytes | bool) else value)
    except (TypeError, ValueError, OverflowError):
        result = float("nan")
    if not isfinite(result) or not low <= result <= high:
        bounds = "" if low == -high == float("-inf") else f" in [{low:g}, {high:g}]"
        raise ConfigurationError(f"{owner}: expected {field} to be a finite number{bounds}, received {value!r}.")
    return result


def instance(owner: object, field: str, value: Any, kind: type, example: str) -> Any:
    """`value`, which must be an instance of `kind`."""
    if not isinstance(value, kind):
        raise ConfigurationError(
            f"{owner}: expected {field} to be a {kind.__name__} such as {example}, received {value!r}."
        )
    return value


def names(owner: object, field: str, value: Any) -> tuple[str, ...]:
    """`value`, a sequence of blob names, as a tuple."""
    items = tuple(value) if isinstance(value, Sequence) else () if value is None else (value,)
    if isinstance(value, str) or not all(isinstance(item, str) and item for item in items):
        raise ConfigurationError(
            f"{owner}: expected {field} to be a list of blob names such as ['data'], received {value!r}."
        )
    return items


def known(owner: object, kind: str, name: str, names: Iterable[str]) -> None:
    """Raise `UnknownNameError` unless `name` is among the names that the owner has."""
    names = list(names)
    if name not in names:
        raise UnknownNameError(f"{owner} has no {kind} '{name}'. It has: {', '.join(names) or 'none'}.")


def numbers(owner: object, value: Any) -> Any:
    """`value` as a NumPy array of real numbers; raises `ShapeError` if it is none."""
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "buif":
        raise ShapeError(f"{owner}: expected an array of numbers, received {type(value).__name__} of {array.dtype}.")
    return array
