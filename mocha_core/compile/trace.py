"""Traces an op's reference: runs it once on symbols, which record each operation into a `VectorProgram`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, NoReturn

import numpy as np

from mocha_core.compile.vector_program import Output, Recorder, Untraceable, VectorProgram, common
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
        Untraceable: it has no reference, or one that is not element-wise.
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
        Untraceable: it has no reference, or one that is not element-wise.
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
    shape, dtype = common([*ins, *outs])
    recorder = Recorder(shape, dtype)
    symbols = []
    for spec in (*ins, *outs):
        if spec is not None and spec.shape != shape and spec.size != 1:
            raise Untraceable(f"its operands have the shapes {shape} and {spec.shape}")
    for i, spec in enumerate(ins):
        symbols.append(None if spec is None else Symbol(recorder, spec.shape, "input", (), spec.dtype, i))
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
    if symbol.shape != spec.shape and not (symbol.uniform and symbol.size == 1):
        raise Untraceable(f"a result has the shape {symbol.shape}, expected {spec.shape}")
    return Output(symbol.index, spec.shape != recorder.shape)


class Symbol:
    """Stands for an array while a function is traced: of the program's shape, or with one value for all elements."""

    __array_ufunc__ = None  # NumPy's own functions and numbers leave operators to this class
    __hash__ = None  # type: ignore[assignment]
    index: int

    def __init__(
        self, recorder: Recorder, shape: tuple[int, ...], op: str, args: Sequence[Symbol], dtype: str, number: float = 0
    ) -> None:
        # An operand of the program's shape has one element for each, any other has one for all.
        uniform = op == "all_finite" or (None if args else op == "constant" or shape != recorder.shape)
        self.recorder = recorder
        self.shape = shape
        self.index = recorder.add(op, [symbol.index for symbol in args], dtype, number, uniform)

    @property
    def uniform(self) -> bool:
        return self.recorder.nodes[self.index].uniform

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
            Untraceable: its elements would be repeated in another way than one for all.
        """
        if shape == self.shape:
            return self
        if not self.uniform or np.broadcast_shapes(self.shape, shape) != shape:
            raise Untraceable(f"an array of shape {self.shape} is broadcast to {shape}")
        if shape != self.recorder.shape and int(np.prod(shape, dtype=int)) != 1:
            raise Untraceable(f"a number is broadcast to {shape}, which is not the shape of the arrays")
        other = object.__new__(Symbol)
        other.recorder, other.shape, other.index = self.recorder, shape, self.index
        return other

    def cast(self, dtype: Any) -> Symbol:
        name, node = np.dtype(dtype).name, self.recorder.nodes[self.index]
        if node.dtype == name:
            return self
        if node.op == "constant":
            return as_symbol(self.recorder, self.dtype.type(node.number), name).broadcast(self.shape)
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
    return Symbol(recorder, (), "constant", (), number.dtype.name, float(number))


def alike(recorder: Recorder, xs: Sequence[Any]) -> tuple[list[Symbol], tuple[int, ...]]:
    """The operands as symbols of the dtype that NumPy promotes them to, and their common shape."""
    dtype = np.result_type(*(x.dtype if isinstance(x, Symbol) else x for x in xs))
    symbols = [as_symbol(recorder, x, dtype) for x in xs]
    return symbols, shape_of(recorder, symbols)


def shape_of(recorder: Recorder, symbols: Sequence[Symbol]) -> tuple[int, ...]:
    """The shape of a result.

    Raises:
        Untraceable: it is not the program's shape, and has several elements.
    """
    shape = np.broadcast_shapes(*(symbol.shape for symbol in symbols))
    if shape != recorder.shape and int(np.prod(shape, dtype=int)) != 1:
        raise Untraceable(f"it broadcasts arrays to {shape}")
    if shape != recorder.shape and not all(symbol.uniform for symbol in symbols):
        raise Untraceable(f"it broadcasts arrays to {shape}")
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


class SymbolicNamespace:
    """`xp` while a function is traced: of `mocha_core.graph.array_api`, what computes element by element."""

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
        why = "is not element-wise" if name in FUNCTIONS else "is not in mocha_core.graph.array_api"
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
        if tuple(shape) != x.shape:
            raise Untraceable(f"it reshapes an array from {x.shape} to {tuple(shape)}")
        return x

    def all_finite(self, arrays: Sequence[Symbol]) -> Symbol:
        """Whether all elements are finite of the part of the arrays that is computed together."""
        found = [
            function("isfinite", x) if x.uniform else Symbol(self._recorder, (), "all_finite", (x,), "bool")
            for x in arrays
        ]
        result = found[0]
        for other in found[1:]:
            result = logical("logical_and", result, other)
        return result
