"""`matmul`: the product of two matrices by the kernels of the backend, for authors of kernels and for tests."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import ITEMSIZE, ArgumentError, ShapeError
from mocha_native.compiled import Array, Compiled

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend

#: The most rows for which a product with the second matrix transposed is computed by sums along the lanes.
FEW_ROWS = 8
#: The most vectors of columns for which the first matrix is not packed.
FEW_VECTORS = 8


def room_elements(backend: NativeBackend, dtype: str, rows: int, depth: int, columns: int) -> int:
    """The elements of workspace that csrc/matmul.h needs for each thread: for the first factor, of shape (rows, depth),
    and for the second one, of shape (depth, columns), if it is plain; 0 columns say that it has lanes."""
    lanes, constants, size = backend.lanes[dtype].width, backend.isa.constants, ITEMSIZE[dtype]
    gap = constants["matmul_gap_bytes"] // size
    first = min(rows * (depth + gap), constants["matmul_packed_bytes"] // size)
    second = min(-(-columns // lanes) * lanes * (depth + gap), constants["matmul_group_bytes"] // size)
    return first + gap + second


def matmul(
    a: Array, b: Array, *, transpose_a: bool = False, transpose_b: bool = False, backend: NativeBackend | None = None
) -> Array:
    """The product of two matrices, each as it is or transposed.

    Args:
        a: of shape (rows, depth), or (depth, rows) if `transpose_a`.
        b: of shape (depth, columns), or (columns, depth) if `transpose_b`. Both are float32, or both float64, and
            C-ordered.
        backend: gives the threads and the instruction set; None: a new one with its defaults.

    Returns:
        A new array of shape (rows, columns). Its bytes are the same for every number of threads.

    Raises:
        ArgumentError: an operand is no such array.
        ShapeError: the shapes do not fit.
    """
    from mocha_native.backend import NativeBackend

    _check_matrices(a=a, b=b)
    shape = a.shape[1 if transpose_a else 0], b.shape[0 if transpose_b else 1]
    out = np.empty(shape, a.dtype)
    bind_matmul(backend or NativeBackend(), a, b, out, transpose_a=transpose_a, transpose_b=transpose_b)()
    return out


def bind_matmul(
    backend: NativeBackend, a: Array, b: Array, out: Array, *, transpose_a: bool = False, transpose_b: bool = False
) -> Compiled:
    """The step that writes the product of `a` and `b`, which are as in `matmul`, to `out`, with a workspace of its own.

    Raises:
        ArgumentError: an operand or `out` is no matrix of float32, or of float64.
        ShapeError: the shapes do not fit.
    """
    _check_matrices(a=a, b=b, out=out)
    rows, depth = a.shape[::-1] if transpose_a else a.shape
    other, columns = b.shape[::-1] if transpose_b else b.shape
    if depth != other:
        raise ShapeError(
            f"matmul: a of shape {a.shape} {'transposed ' * transpose_a}has {depth} columns, and b of shape {b.shape} "
            f"{'transposed ' * transpose_b}has {other} rows: expected as many of them."
        )
    if out.shape != (rows, columns):
        raise ShapeError(f"matmul: out has shape {out.shape}: expected {(rows, columns)}.")
    dtype = str(a.dtype)
    if rows <= FEW_ROWS and transpose_b and not transpose_a:
        return Compiled(backend, f"inner_product_dots_{dtype}", [a, b, None, out], [rows, columns, depth], [-inf])
    of_a = (1, rows) if transpose_a else (depth, 1)
    of_b = (1, depth) if transpose_b else (columns, 1)
    of_out = columns, 1
    if transpose_b and rows <= FEW_VECTORS * backend.lanes[dtype].width:
        # The transposed product reads b as it is: see csrc/matmul.h.
        rows, columns, a, b, of_a, of_b, of_out = columns, rows, b, a, of_b[::-1], of_a[::-1], of_out[::-1]
    elements = room_elements(backend, dtype, rows, depth, columns)
    room = np.empty((backend.threads, elements), dtype)
    sizes = [rows, columns, depth, elements, *of_a, *of_b, *of_out]
    return Compiled(backend, f"matmul_{dtype}", [a, b, out, room], sizes)


def _check_matrices(**arrays: Array) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ArgumentError(f"matmul: {name} is {found}: expected an array of float32 or float64.")
        if array.dtype != arrays["a"].dtype:
            both = f"a is {arrays['a'].dtype} and {name} is {array.dtype}"
            raise ArgumentError(f"matmul: {both}: expected one dtype. Convert one by astype.")
        if array.ndim != 2:
            raise ShapeError(f"matmul: {name} has shape {array.shape}: expected a matrix. Use reshape.")
