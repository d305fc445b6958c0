"""Checks of layer fields that several standard layers share."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from mocha_core.api import ConfigurationError, Initializer, Layer, Regularizer, checks
from mocha_layers_std.regularizers import NoRegu

Choice = TypeVar("Choice", bound=StrEnum)


def choice(owner: object, field: str, value: str, group: type[Choice]) -> Choice:
    """`value` as a member of `group`. It may be the member, its string or its name, in letters of any case.

    Raises:
        ConfigurationError: the value names no member.
    """
    for member in group:
        if value is member or (isinstance(value, str) and value.lower() in (member.value, member.name.lower())):
            return member
    members = ", ".join(f"{group.__name__}.{member.name}" for member in group)
    raise ConfigurationError(f"{owner}: expected {field} to be one of {members}, received {checks.shown(value)}.")


def pair(value: tuple[int, int] | int) -> tuple[int, int]:
    """A field that `checks.pair` has normalised."""
    assert isinstance(value, tuple)
    return value


def one_top_each(layer: Layer) -> None:
    """Raise `ConfigurationError` unless the layer has bottoms, and the same number of tops."""
    if not layer.bottoms or len(layer.bottoms) != len(layer.tops):
        raise ConfigurationError(
            f"{layer}: expected one or more bottoms and as many tops, received bottoms {list(layer.bottoms)} "
            f"and tops {list(layer.tops)}."
        )


def blobs(layer: Layer, bottoms: str, tops: str = "") -> None:
    """Raise `ConfigurationError` unless there are as many bottoms and tops as words in `bottoms`, `tops`."""
    for field, names, meanings in (("bottoms", layer.bottoms, bottoms), ("tops", layer.tops, tops)):
        expected = meanings.split()
        if len(names) != len(expected):
            what = f"{len(expected)} {field} ({', '.join(expected)})" if expected else f"no {field}"
            raise ConfigurationError(f"{layer}: expected {what}, received {list(names)}.")


def learning(layer: Layer, *parameters: str) -> None:
    """Check `<parameter>_init`, `<parameter>_regu` (None: no regularizer) and `<parameter>_lr` of each parameter."""
    for parameter in parameters:
        init, regu, lr = (f"{parameter}_{suffix}" for suffix in ("init", "regu", "lr"))
        checks.instance(layer, init, getattr(layer, init), Initializer, "initializers.XavierInitializer()")
        if getattr(layer, regu) is None:
            layer.replace_field(regu, NoRegu())
        checks.instance(layer, regu, getattr(layer, regu), Regularizer, "regularizers.L2Regu(1) or None")
        layer.replace_field(lr, checks.number(layer, lr, getattr(layer, lr), low=0))
