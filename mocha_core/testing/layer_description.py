"""Checks that a layer is a description: it does not change, and a copy is another layer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mocha_core.describe.layer import Layer

if TYPE_CHECKING:
    from mocha_core.testing.layer_case import LayerCase


def check_description(case: LayerCase) -> None:
    """The layer is frozen, shows its class and name, equals no other layer, and does not change when it runs."""
    layer, kind = case.layer, type(case.layer).__name__
    before = dict(vars(layer))
    for field in (*(f.name for f in fields(layer)), "something_new"):
        try:
            setattr(layer, field, None)
        except AttributeError:
            continue
        raise AssertionError(f"field '{field}' of {kind} can be changed: layers are frozen.")
    for text in (repr(layer), str(layer)):
        if kind not in text or layer.name not in text:
            raise AssertionError(f"expected repr and str to show {kind} and '{layer.name}', received {text}.")
    case.outcome()
    if (after := vars(layer)) != before:
        changed = ", ".join(sorted(k for k in {*after, *before} if after.get(k) is not before.get(k)))
        raise AssertionError(f"running changed {changed} of {kind}: keep nothing on a layer, and saved things in ops.")
    for how, make in COPIES.items():
        check_copy(layer, how, make)


COPIES: dict[str, Callable[[Layer], Any]] = {
    "dataclasses.replace": replace,
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}


def check_copy(layer: Layer, how: str, make: Callable[[Layer], Any]) -> None:
    """Raise `AssertionError` unless a copy has the same fields and is not equal to the layer."""
    try:
        other = make(layer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if how == "pickle":  # Python cannot pickle a class inside a function, or a field such as a lambda
            return
        raise AssertionError(f"{how} of {layer} fails: {type(error).__name__}: {error}.") from error
    if type(other) is not type(layer) or {f.name for f in fields(other)} != {f.name for f in fields(layer)}:
        raise AssertionError(f"{how} of {layer} gives {other!r}.")
    if str(other) != str(layer) or (other.bottoms, other.tops) != (layer.bottoms, layer.tops):
        raise AssertionError(f"{how} of {layer} gives {other!r}.")
    if other == layer or hash(other) == hash(layer):
        raise AssertionError(
            f"{how} of {layer} equals it: layers are compared by identity; leave out __eq__ and __hash__."
        )
