"""Traces an op's reference: runs it once on symbols, which record each operation into a `VectorProgram`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from mocha_core.compile.symbol import Symbol, alike, arithmetic, as_symbol, function, logical, reduction, shape_of
from mocha_core.compile.vector_program import REDUCTIONS, Kind, Output, Recorder, Untraceable, VectorProgram, common
from mocha_core.graph.array_api import DTYPES, FUNCTIONS
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec

#: Functions of one array of floating-point numbers.
ONE = ("abs", "sign", "square", "sqrt", "exp", "log", "tanh", "floor", "ceil", "round", "isnan", "isfinite")


def trace_forward(call: Call, wanted: Sequence[bool]) -> VectorProgram:
    """The program of a call's forward half.

    Args:
        call: the use of an op; its `ins` and `outs` are the program's.
        wanted: which of the outputs are.

    Raises:
        Untraceable: it has no reference, or one that computes neither element by element nor row by row.
    """
    if not call.op.has_reference:
        raise Untraceable("the op has no reference")
    outs = [v.spec if want else None for v, want in zip(call.outs, wanted, strict=True)]
    return _trace(call.op.forward, [v.spec for v in call.ins], outs)


def trace_backward(call: Call, given: Sequence[bool], wanted: Sequence[bool]) -> VectorProgram:
    """The program of a call's backward half: outputs are the gradients of `call.ins`.

    Args:
        call: the use of an op.
        given: which of the inputs (*dy, *x, *y) are there.
        wanted: which gradients are.

    Raises:
        Untraceable: it has no reference, or one that computes neither element by element nor row by row.
    """
    if not call.op.has_backward:
        raise Untraceable("the op has no reference of backward")
    x, y = [v.spec for v in call.ins], [v.spec for v in call.outs]
    ins = [spec if there else None for spec, there in zip((*y, *x, *y), given, strict=True)]
    outs = [spec if want else None for spec, want in zip(x, wanted, strict=True)]

    def backward(xp: Any, *arrays: Any) -> Any:
        dy, rest = arrays[: len(y)], arrays[len(y) :]
        return tuple(call.op.backward(xp, dy, rest[: len(x)], rest[len(x) :], tuple(wanted)))

    return _trace(backward, ins, outs)


def _trace(function: Callable[..., Any], ins: Sequence[Spec | None], outs: Sequence[Spec | None]) -> VectorProgram:
    first, again = (_trace_once(function, ins, outs) for _ in range(2))
    if repr(first) != repr(again):  # equal constants may be NaN
        raise Untraceable("it computes something else each time, as no pure function does")
    return first


def _trace_once(function: Callable[..., Any], ins: Sequence[Spec | None], outs: Sequence[Spec | None]) -> VectorProgram:
    recorder = Recorder(*common([*ins, *outs]))
    symbols = []
    for i, spec in enumerate(ins):
        kind = None if spec is None else recorder.kind(spec.shape)
        symbols.append(None if spec is None else Symbol(recorder, spec.shape, "input", (), spec.dtype, i, kind))
    try:
        found = function(SymbolicNamespace(recorder), *symbols)
        results = found if isinstance(found, tuple) else (found,)
        if len(results) != len(outs):
            raise Untraceable(f"it returns {len(results)} arrays, expected {len(outs)}")
        return recorder.program([_output(recorder, *pair) for pair in zip(results, outs, strict=True)])
    except Untraceable:
        raise
    except Exception as error:  # whatever a reference does with symbols, it can still run on arrays
        raise Untraceable(f"{type(error).__name__}: {error}") from error


def _output(recorder: Recorder, result: Any, spec: Spec | None) -> Output | None:
    if spec is None:
        return None
    symbol = as_symbol(recorder, 0 if result is None else result).cast(spec.dtype)
    if symbol.shape != spec.shape and not (symbol.kind is Kind.NUMBER and symbol.size == 1):
        raise Untraceable(f"a result has the shape {symbol.shape}, expected {spec.shape}")
    kind = Kind.FULL if spec.shape == recorder.shape else symbol.kind
    is_sum = recorder.nodes[symbol.index].op == "sum_rows"
    if is_sum != (kind is Kind.COLUMN) or (kind is Kind.NUMBER and spec.size > 1):
        raise Untraceable(f"a result has the shape {spec.shape}, which is not that of the arrays")
    return Output(symbol.index, kind)


class SymbolicNamespace:
    """`xp` while a function is traced: of `mocha_core.graph.array_api`, what computes elements and rows."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        for name in DTYPES:
            setattr(self, name, np.dtype(name).type)

    def __getattr__(self, name: str) -> Any:
        if name in ONE:
            return lambda x: function(name, x)
        if name in ("maximum", "minimum", "pow"):
            return lambda a, b: arithmetic(name, a, b)
        if name in ("logical_and", "logical_or", "logical_not"):
            return lambda *xs: logical(name, *xs)
        if name in ("bitwise_and", "bitwise_xor"):
            return lambda *xs: logical(name.replace("bitwise", "logical"), *xs)
        if name in REDUCTIONS or name == "mean":
            return partial(reduction, name)
        why = "cannot be traced" if name in FUNCTIONS else "is not in mocha_core.graph.array_api"
        raise Untraceable(f"xp.{name} {why}")

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        symbols, _ = alike(self._recorder, (a, b))
        condition = as_symbol(self._recorder, condition).cast("bool")
        shape = shape_of(self._recorder, (condition, *symbols))
        return Symbol(self._recorder, shape, "where", (condition, *symbols), symbols[0].dtype.name)

    def astype(self, x: Any, dtype: Any, copy: bool = True) -> Symbol:
        return as_symbol(self._recorder, x).cast(dtype).broadcast(x.shape)

    def asarray(self, x: Any, dtype: Any = None) -> Symbol:
        return as_symbol(self._recorder, x, dtype)

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Symbol:
        number = as_symbol(self._recorder, value, dtype)
        return self.broadcast_to(number, (shape,) if isinstance(shape, int) else tuple(shape))

    def zeros(self, shape: Any, dtype: Any = "float64") -> Symbol:
        return self.full(shape, 0, dtype)

    def ones(self, shape: Any, dtype: Any = "float64") -> Symbol:
        return self.full(shape, 1, dtype)

    def full_like(self, x: Symbol, value: Any, dtype: Any = None) -> Symbol:
        return self.full(x.shape, value, x.dtype if dtype is None else dtype)

    def zeros_like(self, x: Symbol, dtype: Any = None) -> Symbol:
        return self.full_like(x, 0, dtype)

    def ones_like(self, x: Symbol, dtype: Any = None) -> Symbol:
        return self.full_like(x, 1, dtype)

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> Symbol:
        return as_symbol(self._recorder, x).broadcast(tuple(shape))

    def reshape(self, x: Symbol, shape: tuple[int, ...]) -> Symbol:
        rows = self._recorder.rows
        if x.kind is Kind.ROW and tuple(shape) in (rows, rows + (1,) * self._recorder.axes):
            return x.seen_as(tuple(shape))
        if tuple(shape) != x.shape:
            raise Untraceable(f"it reshapes an array from {x.shape} to {tuple(shape)}")
        return x

    def expand_dims(self, x: Symbol, axis: int = 0) -> Symbol:
        at = axis % (x.ndim + 1)
        if x.kind is not Kind.ROW or at < len(self._recorder.rows):
            raise Untraceable(f"it adds an axis to an array of shape {x.shape}")
        return x.seen_as((*x.shape[:at], 1, *x.shape[at:]))

    def all_finite(self, arrays: Sequence[Symbol]) -> Symbol:
        """Whether all elements are finite of the part of the arrays that is computed together."""
        parts = [x for x in arrays if x.kind is not Kind.NUMBER]
        found = [function("isfinite", x) for x in arrays if x.kind is Kind.NUMBER]
        if parts:
            found.append(Symbol(self._recorder, (), "all_finite", parts, "bool", kind=Kind.NUMBER))
        return reduce(lambda a, b: logical("logical_and", a, b), found)
