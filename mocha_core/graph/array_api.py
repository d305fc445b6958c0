"""The part of the Python array API standard that every backend's `xp` offers.

References are written against these names and nothing else, so they run on any backend. Arrays must be
mutable (`x[...] = y`), and take basic slices. NumPy 2 and CuPy 14 offer all of them in their main namespace.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

#: An array of some backend. The array API has no nominal type for it.
Array = Any
#: Operands of an op; None where one is not read.
Arrays: TypeAlias = Sequence[Array]
#: Gradients of an op's inputs; None where one is not wanted, or zero.
Gradients: TypeAlias = tuple[Array | None, ...]
#: A namespace with the functions below.
Namespace = Any

DTYPES = ("bool", "int32", "int64", "uint32", "uint64", "float32", "float64")

FUNCTIONS = (
    *("arange", "asarray", "empty", "full", "full_like", "ones", "ones_like", "zeros", "zeros_like"),
    *("astype", "broadcast_to", "concat", "expand_dims", "permute_dims", "reshape", "squeeze", "stack"),
    *("abs", "bitwise_and", "bitwise_right_shift", "bitwise_xor", "ceil", "exp", "floor", "isfinite", "isnan"),
    *("log", "logical_and", "logical_not", "logical_or", "maximum", "minimum", "pow", "round", "sign", "sqrt"),
    *("square", "tanh"),
    *("all", "any", "argmax", "max", "mean", "min", "prod", "sum"),
    *("matmul", "take", "take_along_axis", "where"),
)
