"""`matmul`: the product of two matrices by the kernels of the backend, for authors of kernels and for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import ITEMSIZE, ArgumentError, ShapeError
from mocha_native.compiled import Array, Compiled

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend


def room_elements(backend: NativeBackend, dtype: str, depth: int, columns: int) -> int:
    """The elements of workspace that csrc/matmul.h needs for each thread: for the first factor, and for the second one,
    of shape (depth, columns), if it is plain; a depth of 0 says that it has lanes."""
    lanes, constants = backend.lanes[dtype].width, backend.isa.constants
    second = depth * -(-columns // lanes) * lanes * ITEMSIZE[dtype]
    return (constants["matmul_packed_bytes"] + min(constants["matmul_group_bytes"], second)) // ITEMSIZE[dtype]


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

    for name, array in (("a", a), ("b", b)):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ArgumentError(f"matmul: {name} is {found}: expected an array of float32 or float64.")
    if a.dtype != b.dtype:
        raise ArgumentError(f"matmul: a is {a.dtype} and b is {b.dtype}: expected one dtype. Convert one by astype.")
    if a.ndim != 2 or b.ndim != 2:
        raise ShapeError(f"matmul: a has shape {a.shape} and b {b.shape}: expected two matrices. Use reshape.")
    rows, depth = a.shape[::-1] if transpose_a else a.shape
    other, columns = b.shape[::-1] if transpose_b else b.shape
    if depth != other:
        raise ShapeError(
            f"matmul: a of shape {a.shape} {'transposed ' * transpose_a}has {depth} columns, and b of shape {b.shape} "
            f"{'transposed ' * transpose_b}has {other} rows: expected as many of them."
        )
    backend = NativeBackend() if backend is None else backend
    dtype = str(a.dtype)
    out = np.empty((rows, columns), dtype)
    elements = room_elements(backend, dtype, depth, columns)
    room = np.empty((backend.threads, elements), dtype)
    sizes = [rows, columns, depth, transpose_a, transpose_b, elements]
    if out.size:
        Compiled(backend, f"matmul_{dtype}", [a, b, out, room], sizes)()
    return out
