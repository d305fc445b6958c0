"""Small uses of each function of an array namespace; a backend's results are compared with NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.random import philox, uniform
from mocha_core.testing.inputs import distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A function of a namespace, float arrays a (2, 3), b (2, 3), c (3,), d (), and the arrays in `WHOLE`.
Use: TypeAlias = Callable[..., Array]

#: Operands that are cast to the dtype under test.
FLOATS: Mapping[str, NDArray[Any]] = {
    "a": distinct((2, 3), 1),
    "b": distinct((2, 3), 2),
    "c": distinct((3,), 3),
    "d": np.asarray(0.625),
}
#: Operands that keep their dtypes. The numbers in those of 64 bits do not fit into fewer bits.
WHOLE: Mapping[str, NDArray[Any]] = {
    "i": np.array([[3, -2, 0], [7, 5, -9]], np.int32),
    "j": np.array([4, -5, 2**40], np.int64),
    "u": np.array([1, 2**31, 2**32 - 1], np.uint64),
    "v": np.array([7, 2**31 + 5, 3], np.uint32),
    "p": np.array([[True, False, True], [False, False, True]]),
    "q": np.array([True, True, False]),
    "n": np.asarray(3, np.int32),
}


def operands(dtype: str) -> dict[str, NDArray[Any]]:
    """All operands by name, the floats in a dtype."""
    return {**{name: array.astype(dtype) for name, array in FLOATS.items()}, **WHOLE}


def evaluate(use: Use, xp: Namespace, arrays: Mapping[str, Array]) -> list[Array]:
    """The results of a use, for the operands that it names."""
    names = use.__code__.co_varnames[1 : use.__code__.co_argcount]
    result = use(xp, *(arrays[name] for name in names))
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _add_in_place(xp: Namespace, a: Array, c: Array) -> Array:
    x = xp.zeros_like(a)
    x[...] = a
    x[...] += c
    x += a
    x[1, :] = 0.5
    x[:, 1:] -= c[1:]
    x[0, 2] *= 4
    return x


def _whole_in_place(xp: Namespace, i: Array) -> Array:
    x = xp.zeros_like(i)
    x[...] = i
    x[0, ...] += 3
    x[:, ::2] = 9
    return x


def _slices_share_memory(xp: Namespace, a: Array) -> Array:
    arena = xp.zeros((12,), dtype=a.dtype)
    first, second = xp.reshape(arena[:6], (2, 3)), xp.reshape(arena[6:9], (3,))
    first[...] = a
    second[...] = 2.0
    return arena


def _words(xp: Namespace, u: Array) -> list[Array]:
    return philox(xp, (u, u[::-1], xp.zeros_like(u), u), (0xA4093822, 0x299F31D0))


#: Uses, by the function or the property that they test.
USES: Mapping[str, list[Use]] = {
    "arange": [
        lambda xp: xp.arange(5, dtype=xp.int32),
        lambda xp: xp.arange(2, 9, 3, dtype=xp.int64),
        lambda xp: xp.arange(4, dtype=xp.uint64),
        lambda xp, a: xp.arange(3, dtype=a.dtype),
    ],
    "asarray": [
        lambda xp: xp.asarray(2**32 - 1, dtype=xp.uint64),
        lambda xp, a: xp.asarray(0.1, dtype=a.dtype),
        lambda xp, a: xp.asarray([[1.5, 2.0], [3.0, -4.25]], dtype=a.dtype),
        lambda xp: xp.asarray(True, dtype=xp.bool),
        lambda xp: xp.asarray([1, -2], dtype=xp.int32),
    ],
    "empty": [lambda xp, a: xp.zeros_like(xp.empty((2, 3), dtype=a.dtype)), lambda xp: xp.empty((0,), dtype=xp.int32)],
    "full": [
        lambda xp, a: xp.full((2, 2), 0.1, dtype=a.dtype),
        lambda xp, a: xp.full((), float("-inf"), dtype=a.dtype),
        lambda xp: xp.full((3,), 7, dtype=xp.int32),
        lambda xp: xp.full((2,), True, dtype=xp.bool),
    ],
    "full_like": [
        lambda xp, a: xp.full_like(a, 0.1),
        lambda xp, i: xp.full_like(i, -1),
        lambda xp, n: xp.full_like(n, 5),
    ],
    "ones": [lambda xp, a: xp.ones((2, 3), dtype=a.dtype), lambda xp: xp.ones((), dtype=xp.int64)],
    "zeros": [lambda xp, a: xp.zeros((2, 0), dtype=a.dtype), lambda xp: xp.zeros((3,), dtype=xp.bool)],
    "ones_like": [lambda xp, a: xp.ones_like(a), lambda xp, u: xp.ones_like(u), lambda xp, d: xp.ones_like(d)],
    "zeros_like": [lambda xp, a: xp.zeros_like(a), lambda xp, u: xp.zeros_like(u), lambda xp, d: xp.zeros_like(d)],
    "astype": [
        lambda xp, a: xp.astype(a, xp.float64),
        lambda xp, a: xp.astype(a, xp.float32),
        lambda xp, p, a: xp.astype(p, a.dtype),
        lambda xp, i: xp.astype(i, xp.int64),
        lambda xp, i, a: xp.astype(i, a.dtype),
        lambda xp, a: xp.astype(10 * a, xp.int32),
        lambda xp, n: xp.astype(n, xp.uint64),
        lambda xp, u: xp.astype(u, xp.float32),
        lambda xp, i: xp.astype(i, xp.bool),
    ],
    "broadcast_to": [lambda xp, c: xp.broadcast_to(c, (4, 3)), lambda xp, d: xp.broadcast_to(d, (2, 2))],
    "concat": [
        lambda xp, a, b: xp.concat([a, b], axis=1),
        lambda xp, a, b: xp.concat((a, b, a), axis=0),
        lambda xp, i: xp.concat([i, i], axis=1),
    ],
    "expand_dims": [lambda xp, c: xp.expand_dims(c, axis=0), lambda xp, a: xp.expand_dims(a, axis=2)],
    "permute_dims": [
        lambda xp, a: xp.permute_dims(a, (1, 0)),
        lambda xp, i: xp.permute_dims(xp.expand_dims(i, axis=1), (2, 0, 1)),
    ],
    "reshape": [
        lambda xp, a: xp.reshape(a, (6,)),
        lambda xp, a: xp.reshape(a, (3, 1, 2)),
        lambda xp, d: xp.reshape(d, (1, 1)),
        lambda xp, i: xp.reshape(i, (-1, 2)),
        lambda xp, a: xp.reshape(xp.permute_dims(a, (1, 0)), (6,)),
    ],
    "squeeze": [lambda xp, c: xp.squeeze(xp.expand_dims(c, axis=1), axis=1)],
    "stack": [
        lambda xp, a, b: xp.stack([a, b], axis=2),
        lambda xp, d: xp.stack([d, 2 * d]),
        lambda xp, i: xp.stack([i, -i]),
    ],
    "abs": [lambda xp, a: xp.abs(a), lambda xp, i: xp.abs(i), lambda xp, d: xp.abs(-d)],
    "bitwise_and": [lambda xp, u: xp.bitwise_and(u, u * u), lambda xp, i: xp.bitwise_and(i, 3)],
    "bitwise_right_shift": [lambda xp, u: xp.bitwise_right_shift(u * u, xp.asarray(32, dtype=xp.uint64))],
    "bitwise_xor": [lambda xp, u: xp.bitwise_xor(u, u[::-1]), lambda xp, i: xp.bitwise_xor(i, 5)],
    "ceil": [lambda xp, a: xp.ceil(3 * a)],
    "exp": [lambda xp, a: xp.exp(a), lambda xp, a: xp.exp(-1000 * xp.abs(a))],
    "floor": [lambda xp, a: xp.floor(3 * a), lambda xp, d: xp.floor(d)],
    "isfinite": [lambda xp, a: xp.isfinite(_special(xp, a)), lambda xp, d: xp.isfinite(d)],
    "isnan": [lambda xp, a: xp.isnan(_special(xp, a)), lambda xp, d: xp.isnan(d)],
    "log": [lambda xp, a: xp.log(xp.abs(a))],
    "logical_and": [lambda xp, p, q: xp.logical_and(p, q)],
    "logical_not": [lambda xp, p: xp.logical_not(p), lambda xp, n: xp.logical_not(n == 3)],
    "logical_or": [lambda xp, p, q: xp.logical_or(p, q)],
    "maximum": [
        lambda xp, a, b: xp.maximum(a, b),
        lambda xp, a, c: xp.maximum(a, c),
        lambda xp, a: xp.maximum(a, 0.0),
        lambda xp, a, b: xp.maximum(_special(xp, a), b),
        lambda xp, i: xp.maximum(i, 0),
    ],
    "minimum": [
        lambda xp, a, b: xp.minimum(a, b),
        lambda xp, a, c: xp.minimum(a, c),
        lambda xp, a: xp.minimum(a, 0.25),
        lambda xp, a, b: xp.minimum(b, _special(xp, a)),
        lambda xp, i: xp.minimum(i, 2),
    ],
    "pow": [
        lambda xp, a, b: xp.pow(xp.abs(a), b),
        lambda xp, a: xp.pow(a, 2.0),
        lambda xp, a: xp.pow(xp.abs(a), -0.75),
    ],
    "round": [lambda xp, a: xp.round(4 * a), lambda xp, a: xp.round(xp.asarray([0.5, 1.5, -2.5], dtype=a.dtype))],
    "sign": [lambda xp, a: xp.sign(a), lambda xp, i: xp.sign(i), lambda xp, a: xp.sign(xp.zeros_like(a))],
    "sqrt": [lambda xp, a: xp.sqrt(xp.abs(a))],
    "square": [lambda xp, a: xp.square(a), lambda xp, i: xp.square(i)],
    "tanh": [lambda xp, a: xp.tanh(3 * a), lambda xp, a: xp.tanh(1000 * a)],
    "all": [
        lambda xp, p: xp.all(p),
        lambda xp, p: xp.all(p, axis=1),
        lambda xp, q: xp.all(xp.expand_dims(q, axis=0), axis=0),
    ],
    "any": [lambda xp, p: xp.any(p), lambda xp, p: xp.any(p, axis=0, keepdims=True)],
    "argmax": [
        lambda xp, a: xp.argmax(a, axis=1),
        lambda xp, a: xp.argmax(a, axis=0, keepdims=True),
        lambda xp, i: xp.argmax(i, axis=1),
    ],
    "max": [
        lambda xp, a: xp.max(a),
        lambda xp, a: xp.max(a, axis=1, keepdims=True),
        lambda xp, i: xp.max(i, axis=0),
        lambda xp, a: xp.max(_special(xp, a), axis=0),
    ],
    "mean": [
        lambda xp, a: xp.mean(a),
        lambda xp, a: xp.mean(a, axis=0),
        lambda xp, a: xp.mean(xp.expand_dims(a, axis=0), axis=(0, 2), keepdims=True),
    ],
    "min": [
        lambda xp, a: xp.min(a),
        lambda xp, a: xp.min(a, axis=1, keepdims=True),
        lambda xp, i: xp.min(i, axis=0),
        lambda xp, a: xp.min(_special(xp, a), axis=0),
    ],
    "prod": [lambda xp, a: xp.prod(a), lambda xp, a: xp.prod(a, axis=1)],
    "sum": [
        lambda xp, a: xp.sum(a),
        lambda xp, a: xp.sum(a, axis=0),
        lambda xp, a: xp.sum(a, axis=(0, 1), keepdims=True),
        lambda xp, a: xp.sum(a, axis=()),
        lambda xp, d: xp.sum(d),
        lambda xp, i: xp.sum(i),
        lambda xp, j: xp.sum(j),
        lambda xp, p: xp.sum(xp.astype(p, xp.int32), axis=1),
        lambda xp, a: xp.sum(a[:0, :], axis=0),
    ],
    "matmul": [
        lambda xp, a, b: xp.matmul(a, xp.permute_dims(b, (1, 0))),
        lambda xp, a, c: xp.matmul(a, c),
        lambda xp, a, b: a @ b.T,
        lambda xp, a, b: xp.matmul(xp.expand_dims(a, axis=1), xp.expand_dims(b, axis=2)),
    ],
    "take": [
        lambda xp, a: xp.take(a, xp.asarray([1, 0, 1], dtype=xp.int64), axis=0),
        lambda xp, i: xp.take(i, xp.asarray([2], dtype=xp.int32), axis=1),
    ],
    "take_along_axis": [
        lambda xp, a: xp.take_along_axis(a, xp.argmax(a, axis=1, keepdims=True), axis=1),
        lambda xp, i: xp.take_along_axis(i, xp.asarray([[1, 0, 1]], dtype=xp.int64), axis=0),
    ],
    "where": [
        lambda xp, p, a, b: xp.where(p, a, b),
        lambda xp, q, a, c: xp.where(q, a, c),
        lambda xp, a, b: xp.where(a > b, a, 0.0),
        lambda xp, n, a, b: xp.where(n == 3, a, b),
        lambda xp, p, i: xp.where(p, i, -i),
    ],
    "arithmetic": [
        lambda xp, a, b: a + b,
        lambda xp, a, b: a - b,
        lambda xp, a, b: a * b,
        lambda xp, a, b: a / b,
        lambda xp, a: -a,
        lambda xp, a: 2 * a - 1.5,
        lambda xp, a: 1 / a,
        lambda xp, a: a**2,
        lambda xp, d, a: d * a,
        lambda xp, i: i // 2,
        lambda xp, i: i % 4,
        lambda xp, i, n: i * n + 1,
        lambda xp, n, a: a / xp.astype(n, a.dtype),
        lambda xp, j: j * 3 - 1,
    ],
    "broadcasting": [
        lambda xp, a, c: a + c,
        lambda xp, a, d: a * d,
        lambda xp, c: xp.expand_dims(c, axis=1) - c,
        lambda xp, a: a - xp.mean(a, axis=1, keepdims=True),
    ],
    "comparisons": [
        lambda xp, a, b: a < b,
        lambda xp, a, c: a >= c,
        lambda xp, a: a == a,
        lambda xp, i: i != 0,
        lambda xp, i: i <= 3,
        lambda xp, a: a > 0.25,
        lambda xp, n: xp.arange(5, dtype=xp.int32) < n,
        lambda xp, a: _special(xp, a) == _special(xp, a),
    ],
    "uint64": [
        lambda xp, u: u + xp.asarray(1, dtype=xp.uint64),
        lambda xp, u: u * xp.asarray(0xD2511F53, dtype=xp.uint64),
        lambda xp, u: u + u,
        _words,
    ],
    "uint32": [
        lambda xp, v: xp.astype(v, xp.uint64) * xp.astype(v, xp.uint64),
        lambda xp, v: xp.bitwise_xor(v, v[::-1]),
    ],
    "random numbers": [
        lambda xp: uniform(
            xp, 2**63 + 11, 2**32 - 1, xp.asarray(12345678, dtype=xp.int64), xp.asarray(64, dtype=xp.int64), 3, 7
        )
    ],
    "indexing": [
        lambda xp, a: a[0, 1],
        lambda xp, a: a[1, :],
        lambda xp, a: a[:, 1:],
        lambda xp, a: a[..., 0],
        lambda xp, a: a[:, ::2],
        lambda xp, a: a[::-1, :],
        lambda xp, a: a[...],
        lambda xp, d: d[...],
        lambda xp, c: c[-2:],
    ],
    "assignment": [_add_in_place, _whole_in_place, _slices_share_memory],
}


def _special(xp: Namespace, a: Array) -> Array:
    """`a` with a NaN and an infinity."""
    return xp.concat([a[:1, :], xp.asarray([[float("nan"), float("inf"), 0.25]], dtype=a.dtype)], axis=0)
