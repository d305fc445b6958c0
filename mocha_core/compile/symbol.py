"""`Symbol`: an array of a function that is traced, and the operations on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from types import EllipsisType
from typing import Any, NoReturn

import numpy as np

from mocha_core.compile.vector_program import Kind, Recorder, Untraceable


class Symbol:
    """Stands for an array while a function is traced. Its kind says how many elements it has."""

    __array_ufunc__ = None  # NumPy's own functions and numbers leave operators to this class
    __hash__ = None  # type: ignore[assignment]
    index: int

    def __init__(
        self,
        recorder: Recorder,
        shape: tuple[int, ...],
        op: str,
        args: Sequence[Symbol],
        dtype: str,
        number: float = 0,
        kind: Kind | None = None,
    ) -> None:
        self.recorder = recorder
        self.shape = shape
        self.index = recorder.add(op, [symbol.index for symbol in args], dtype, number, kind)

    @property
    def kind(self) -> Kind:
        return self.recorder.nodes[self.index].kind

    @property
    def dtype(self) -> Any:
        return np.dtype(self.recorder.nodes[self.index].dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def broadcast(self, shape: tuple[int, ...]) -> Symbol:
        """The same in another shape.

        Raises:
            Untraceable: that is not the shape of the arrays.
        """
        if shape == self.shape:
            return self
        fits = self.kind is Kind.NUMBER or (shape == self.recorder.shape and self.aligned)
        if not fits or np.broadcast_shapes(self.shape, shape) != shape:
            raise Untraceable(f"an array of shape {self.shape} is broadcast to {shape}")
        return self.seen_as(shape)

    @property
    def aligned(self) -> bool:
        """Whether it is broadcast as its kind says: reductions without keepdims are not."""
        return self.kind is not Kind.ROW or self.size == 1 or self.ndim == len(self.recorder.shape)

    def seen_as(self, shape: tuple[int, ...]) -> Symbol:
        other = object.__new__(Symbol)
        other.recorder, other.shape, other.index = self.recorder, shape, self.index
        return other

    def cast(self, dtype: Any) -> Symbol:
        name, node = np.dtype(dtype).name, self.recorder.nodes[self.index]
        if node.dtype == name:
            return self
        if node.op == "constant":
            return as_symbol(self.recorder, self.dtype.type(node.number), name).seen_as(self.shape)
        return Symbol(self.recorder, self.shape, "astype", (self,), name)

    def assign(self, value: Symbol) -> Symbol:
        """Become `value`, as an array does that is written in place."""
        if self.recorder.nodes[self.index].op == "input":
            raise Untraceable("it writes an operand")
        self.index = value.cast(self.dtype).broadcast(self.shape).index
        return self

    def _stop(self, *_: object, **__: object) -> NoReturn:
        raise Untraceable("Python reads elements of an array")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __len__ = __iter__ = __array__ = _stop

    def __getitem__(self, key: object) -> Symbol:
        if key is Ellipsis or (key == () and isinstance(key, tuple)):
            return self
        if key == (Ellipsis, None) and self.kind is Kind.ROW:
            return self.seen_as((*self.shape, 1))
        raise Untraceable("it takes a part of an array")

    def __setitem__(self, key: EllipsisType, value: Any) -> None:
        if key is not Ellipsis:
            raise Untraceable("it writes a part of an array")
        self.assign(as_symbol(self.recorder, value, self.dtype))


def as_symbol(recorder: Recorder, x: Any, dtype: Any = None) -> Symbol:
    """A symbol for a symbol or a number."""
    if isinstance(x, Symbol):
        return x if dtype is None else x.cast(dtype)
    if not isinstance(x, bool | int | float | np.generic):
        raise Untraceable(f"it takes a {type(x).__name__} for an array")
    number = np.asarray(x) if dtype is None else np.asarray(x).astype(dtype)
    if float(number) != number and number == number:
        raise Untraceable(f"the number {number} has too many digits")
    return Symbol(recorder, (), "constant", (), number.dtype.name, float(number), Kind.NUMBER)


def alike(recorder: Recorder, xs: Sequence[Any]) -> tuple[list[Symbol], tuple[int, ...]]:
    """The operands as symbols of the dtype that NumPy promotes them to, and their common shape."""
    dtype = np.result_type(*(x.dtype if isinstance(x, Symbol) else x for x in xs))
    symbols = [as_symbol(recorder, x, dtype) for x in xs]
    return symbols, shape_of(recorder, symbols)


def shape_of(recorder: Recorder, symbols: Sequence[Symbol]) -> tuple[int, ...]:
    """The shape of a result.

    Raises:
        Untraceable: it is neither the program's, nor that of the operands of one kind that is not FULL.
    """
    shape = np.broadcast_shapes(*(symbol.shape for symbol in symbols))
    if shape == recorder.shape:
        fits = all(symbol.aligned for symbol in symbols)
    else:
        alike = prod(shape) == 1 or any(symbol.shape == shape for symbol in symbols)
        fits = alike and Kind.of(symbol.kind for symbol in symbols) is not Kind.FULL
    if not fits:
        raise Untraceable(f"it broadcasts {' and '.join(str(symbol.shape) for symbol in symbols)} to {shape}")
    return shape


def recorder_of(*xs: Any) -> Recorder:
    """The recorder of the operands that are symbols."""
    for x in xs:
        if isinstance(x, Symbol):
            return x.recorder
    raise Untraceable("it computes with numbers through xp")


def arithmetic(op: str, a: Any, b: Any) -> Symbol:
    """An operation on two numbers, as NumPy promotes them."""
    recorder = recorder_of(a, b)
    symbols, shape = alike(recorder, (a, b))
    dtype = symbols[0].dtype
    if op == "divide" and dtype.kind == "i":
        dtype = np.dtype("float64")
        symbols = [symbol.cast(dtype) for symbol in symbols]
    elif dtype.kind == "b" or (op == "pow" and dtype.kind != "f"):
        raise Untraceable(f"{op} of {dtype}")
    if op == "pow":
        return power(recorder, shape, *symbols)
    return Symbol(recorder, shape, op, symbols, dtype.name)


def power(recorder: Recorder, shape: tuple[int, ...], base: Symbol, exponent: Symbol) -> Symbol:
    """x**p, which is cheap for the whole numbers from -1 to 3."""
    node, dtype = recorder.nodes[exponent.index], base.dtype.name
    if node.op == "constant" and node.number in (-1, 0, 1, 2, 3):
        one = as_symbol(recorder, 1, dtype)
        if node.number == -1:
            return Symbol(recorder, shape, "divide", (one, base), dtype)
        if node.number < 2:
            return (base if node.number else one).broadcast(shape)
        square = Symbol(recorder, shape, "square", (base,), dtype)
        return square if node.number == 2 else Symbol(recorder, shape, "multiply", (square, base), dtype)
    return Symbol(recorder, shape, "pow", (base, exponent), dtype)


def comparison(op: str, a: Any, b: Any) -> Symbol:
    """Whether a relation holds between two numbers."""
    recorder = recorder_of(a, b)
    symbols, shape = alike(recorder, (a, b))
    if symbols[0].dtype.kind == "b":
        raise Untraceable(f"{op} of bool")
    return Symbol(recorder, shape, op, symbols, "bool")


def logical(op: str, *xs: Any) -> Symbol:
    """An operation on truth values."""
    recorder = recorder_of(*xs)
    symbols = [as_symbol(recorder, x) for x in xs]
    if any(symbol.dtype.kind != "b" for symbol in symbols):
        raise Untraceable(f"{op} of numbers")
    return Symbol(recorder, shape_of(recorder, symbols), op, symbols, "bool")


def function(op: str, x: Any) -> Symbol:
    """A function of one floating-point number."""
    if not isinstance(x, Symbol) or x.dtype.kind != "f":
        raise Untraceable(f"{op} of {x.dtype if isinstance(x, Symbol) else type(x).__name__}")
    dtype = "bool" if op in ("isnan", "isfinite") else x.dtype.name
    return Symbol(x.recorder, x.shape, op, (x,), dtype)


def reduction(op: str, x: Any, axis: Any = None, keepdims: bool = False) -> Symbol:
    """A reduction over the last axes of an array, or a sum over all other axes."""
    if not isinstance(x, Symbol) or x.dtype.kind != "f" or x.shape != x.recorder.shape or axis is None:
        raise Untraceable(f"xp.{op} is not over the last axes of an array of floating-point numbers")
    recorder, n = x.recorder, x.ndim
    axes = sorted(a % n for a in ((axis,) if isinstance(axis, int) else axis))
    kept = tuple(1 if i in axes else length for i, length in enumerate(x.shape))
    shape = kept if keepdims else tuple(length for i, length in enumerate(x.shape) if i not in axes)
    if axes == list(range(n - len(axes), n)):
        recorder.divide(len(axes))
        total = Symbol(recorder, shape, "sum" if op == "mean" else op, (x,), x.dtype.name, kind=Kind.ROW)
        return arithmetic("divide", total, prod(x.shape[a] for a in axes)) if op == "mean" else total
    if op == "sum" and axes == list(range(len(axes))):
        recorder.divide(n - len(axes))
        return Symbol(recorder, shape, "sum_rows", (x,), x.dtype.name, kind=Kind.COLUMN)
    raise Untraceable(f"xp.{op} is over the axes {axes} of {n}")


def _operators() -> None:
    """The operators of arrays."""

    def define(name: str, operation: Callable[..., Symbol], reflected: bool, in_place: bool) -> None:
        setattr(Symbol, f"__{name}__", lambda a, b: operation(a, b))
        if reflected:
            setattr(Symbol, f"__r{name}__", lambda a, b: operation(b, a))
        if in_place:
            setattr(Symbol, f"__i{name}__", lambda a, b: a.assign(operation(a, b)))

    def of(kind: Callable[..., Symbol], op: str) -> Callable[..., Symbol]:
        return lambda *xs: kind(op, *xs)

    names = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow"}
    for name, op in names.items():
        define(name, of(arithmetic, op), True, True)
    for name in ("and", "or", "xor"):
        define(name, of(logical, f"logical_{name}"), True, True)
    for name, op in {"lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal"}.items():
        define(name, of(comparison, op), False, False)
    define("gt", lambda a, b: comparison("less", b, a), False, False)
    define("ge", lambda a, b: comparison("less_equal", b, a), False, False)
    for name, one in {
        "neg": of(function, "negative"), "abs": of(function, "abs"), "invert": of(logical, "logical_not"),
        "pos": lambda x: x,
    }.items():  # fmt: skip
        setattr(Symbol, f"__{name}__", one)


_operators()
