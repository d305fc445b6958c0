"""Checks of a layer's errors: with any bottoms and tops it works, or raises a `MochaError` that names the layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.compile.backend import Backend
from mocha_core.describe.builder import Builder
from mocha_core.describe.layer import Layer
from mocha_core.errors import DataError, MochaError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec, Value
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.surrounding_layers import InputLayer

if TYPE_CHECKING:
    from mocha_core.testing.layer_case import LayerCase

#: Shapes of wrong bottoms.
SHAPES = ((), (1,), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2))


class Conjure(Op):
    """Makes ones of any shape and dtype."""

    name = "mocha.testing.conjure"
    differentiable = ()
    spec: Spec

    def infer(self) -> tuple[Spec, ...]:
        return (self.spec,)

    def forward(self, xp: Namespace) -> Array:
        return xp.ones(self.spec.shape, dtype=getattr(xp, self.spec.dtype))


class ConjureLayer(Layer):
    """A layer with a top for each spec."""

    specs: Sequence[Spec] = ()

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        return tuple(b.call(Conjure(spec))[0] for spec in self.specs)


def check_errors(case: LayerCase) -> None:
    """Wrong bottoms and tops either work, or raise a `MochaError` that names the layer and the bottom's shape."""
    for what, specs in wrong_bottoms(case):
        refuses(case.layer, what, partial(run, case.layer, specs), list(specs[-1].shape))
    given = [Spec(array.shape, str(array.dtype)) for array in case.bottoms]
    for field in ("bottoms", "tops"):
        for count in (0, 1, 2, 3, 10):
            names = tuple(f"{field[:-1]} {i}" for i in range(count))
            refuses(case.layer, f"{count} {field}", partial(run_changed, case.layer, given, field, names))


def wrong_bottoms(case: LayerCase) -> Iterator[tuple[str, list[Spec]]]:
    """Specs of all bottoms, of which one or all have another rank, size or dtype; the last one is wrong."""
    given = [Spec(array.shape, "float64" if array.dtype.kind == "f" else str(array.dtype)) for array in case.bottoms]
    names = list(dict.fromkeys(case.layer.bottoms))
    for i, (name, spec) in enumerate(zip(names, given, strict=True)):
        shape = spec.shape
        changed = [
            Spec(other, spec.dtype) for other in (*SHAPES, (*shape, 1), (*shape, 2), shape[:-1], (7, *shape[1:]))
        ]
        changed += [Spec((*shape[:axis], 1, *shape[axis + 1 :]), spec.dtype) for axis in range(len(shape))]
        changed += [Spec(shape, dtype) for dtype in ("float32", "int32", "int64", "bool") if dtype != spec.dtype]
        for other in changed:
            yield f"bottom '{name}' as {other}", [*given[:i], other, *given[i + 1 :]]
    for shape in SHAPES if len(given) > 1 else ():
        yield f"all bottoms of shape {list(shape)}", [Spec(shape, spec.dtype) for spec in given]


class PlainBackend(ReferenceBackend):
    """A reference backend that does not check the dtypes of results, because other tests do."""

    choose = Backend.choose


def run_changed(layer: Layer, given: Sequence[Spec], field: str, names: tuple[str, ...]) -> None:
    """Run the layer with other bottoms or tops."""
    changes: dict[str, Any] = {field: names}
    layer = replace(layer, **changes)
    run(layer, [given[i % len(given)] for i in range(len(dict.fromkeys(layer.bottoms)))])


def run(layer: Layer, specs: Sequence[Spec]) -> None:
    """Build a net in which the layer's different bottoms have these specs, and run it forward."""
    data = InputLayer(name="(data)", tops=("(rows)",), batch_size=2, arrays=(np.zeros((2, 1)),))
    bottoms = tuple(dict.fromkeys(layer.bottoms))
    around = [data, ConjureLayer(name="(bottoms)", tops=bottoms, specs=tuple(specs))] if bottoms else [data]
    with System(PlainBackend(), dtype="float64") as system, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # such as for the mean of an empty array
        Net(f"test of {layer.name}", system, [*around, layer]).forward()


def refuses(layer: Layer, what: str, use: Callable[[], Any], shape: list[int] | None = None) -> None:
    """Raise `AssertionError` unless `use` works, or raises a `MochaError` that names the layer, and the shape."""
    try:
        use()
    except MochaError as error:
        # An error about the contents of a minibatch need not name a shape.
        shown = [] if shape is None or isinstance(error, DataError) else [str(shape)]
        for part in (layer.name, *shown):
            if part not in str(error):
                raise AssertionError(f"{what}: expected an error that names '{part}', received: {error}") from error
    except Exception as error:
        raise AssertionError(
            f"{what}: expected a MochaError, received {type(error).__name__}: {error}. Let `infer` and "
            "`check` say what the layer expects."
        ) from error
