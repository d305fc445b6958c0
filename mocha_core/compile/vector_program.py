"""`VectorProgram`: an element-wise computation as a list of operations, which a backend compiles or interprets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mocha_core.graph.value import Spec

#: The operations on floating-point numbers, besides those of `Node.op` that its docstring lists.
ARITHMETIC = ("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum")
FUNCTIONS = ("negative", "abs", "sign", "square", "sqrt", "exp", "log", "tanh", "floor", "ceil", "round")
COMPARISONS = ("less", "less_equal", "equal", "not_equal")


class Untraceable(Exception):
    """A function is no element-wise computation of the supported kind; the message says what stopped the tracer."""


class Node(NamedTuple):
    """One operation. It has one element for each element of the program's shape, or is uniform: one for all of them.

    Attributes:
        op: "input" and "constant", which have a `number`; "astype"; "where"; "isnan", "isfinite"; "logical_and",
            "logical_or", "logical_xor", "logical_not"; one of ARITHMETIC, FUNCTIONS or COMPARISONS; or "all_finite",
            which is uniform in a part of the elements: those that are computed together.
        args: the operations whose results it takes, by their numbers in the program.
        dtype: of the result.
        number: the number of an input among the operands, or a constant.
        uniform: whether there is one element for all.
        part: whether it depends on an "all_finite".
    """

    op: str
    args: tuple[int, ...]
    dtype: str
    number: float = 0.0
    uniform: bool = False
    part: bool = False


class Output(NamedTuple):
    """The operation that gives an output, and whether the output has one element, not the program's shape."""

    node: int
    single: bool


@dataclass(frozen=True)
class VectorProgram:
    """A traced function.

    Attributes:
        dtype: of all results that are not uniform, except those that are bool: float32 or float64.
        nodes: the operations; each comes after those that it takes.
        outputs: where each output comes from; None for one that is not wanted.
    """

    dtype: str
    nodes: tuple[Node, ...]
    outputs: tuple[Output | None, ...]


class Recorder:
    """Records operations, each distinct one once.

    Args:
        shape: that of the results that are not uniform.
        dtype: theirs, except that they may be bool.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.nodes: list[Node] = []
        self._numbers: dict[tuple[object, ...], int] = {}

    def add(self, op: str, args: Sequence[int], dtype: str, number: float = 0.0, uniform: bool | None = None) -> int:
        """The number of an operation. By default it is uniform if all that it takes is.

        Raises:
            Untraceable: it is not uniform, and of another dtype than bool and the program's.
        """
        taken = [self.nodes[i] for i in args]
        if uniform is None:
            uniform = all(node.uniform for node in taken)
        if not uniform and dtype not in (self.dtype, "bool"):
            raise Untraceable(f"it makes an array of {dtype} of one of {self.dtype}")
        if dtype not in ("bool", "int32", "int64", "float32", "float64"):
            raise Untraceable(f"{op} makes a number of dtype {dtype}")
        part = op == "all_finite" or any(node.part for node in taken)
        # The sign of zero, and NaN, tell constants apart that are equal or not equal to themselves.
        key = (op, *args, dtype, np.float64(number).tobytes(), uniform)
        if key not in self._numbers:
            self._numbers[key] = len(self.nodes)
            self.nodes.append(Node(op, tuple(args), dtype, number, uniform, part))
        return self._numbers[key]

    def program(self, outputs: Sequence[Output | None]) -> VectorProgram:
        """The operations that the outputs depend on."""
        needed: set[int] = set()
        stack = [output.node for output in outputs if output is not None]
        while stack:
            if (i := stack.pop()) not in needed:
                needed.add(i)
                stack += self.nodes[i].args
        place = {old: new for new, old in enumerate(sorted(needed))}
        nodes = tuple(self.nodes[i]._replace(args=tuple(place[a] for a in self.nodes[i].args)) for i in sorted(needed))
        placed = (None if output is None else output._replace(node=place[output.node]) for output in outputs)
        return VectorProgram(self.dtype, nodes, tuple(placed))


def common(specs: Iterable[Spec | None]) -> Spec:
    """The shape and dtype of the operands that have most elements, among those of floating-point numbers.

    Raises:
        Untraceable: there are none, or they are empty.
    """
    floats = [spec for spec in specs if spec is not None and spec.dtype in ("float32", "float64")]
    largest = max(floats, key=lambda spec: (spec.size, len(spec.shape)), default=None)
    if largest is None or largest.size == 0:
        raise Untraceable("no operand has floating-point numbers")
    return largest
