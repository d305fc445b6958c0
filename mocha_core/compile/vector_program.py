"""`VectorProgram`: a computation element by element, or row by row, as operations for a backend to run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from mocha_core.graph.value import Spec

#: The operations on floating-point numbers, besides those of `Node.op` that its docstring lists.
ARITHMETIC = ("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum")
FUNCTIONS = ("negative", "abs", "sign", "square", "sqrt", "exp", "log", "tanh", "floor", "ceil", "round")
#: Those, and others, that give zero for zeros.
ZERO_AT_ZERO = {
    "add", "subtract", "maximum", "minimum", "negative", "abs", "sign", "square", "sqrt", "tanh", "floor", "ceil",
    "round", "astype",
}  # fmt: skip
REDUCTIONS = ("sum", "max", "min")
COMPARISONS = ("less", "less_equal", "equal", "not_equal")


class Untraceable(Exception):
    """A function is no element-wise computation of the supported kind; the message says what stopped the tracer."""


class Kind(StrEnum):
    """How many elements a result has: one for all; one for each row, or one for each column; or one for each element of
    the program's shape."""

    NUMBER = "number"
    ROW = "row"
    COLUMN = "column"
    FULL = "full"

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> Kind:
        """The kind of what is computed of results of these kinds."""
        several = set(kinds) - {cls.NUMBER}
        return cls.NUMBER if not several else several.pop() if len(several) == 1 else cls.FULL


class Node(NamedTuple):
    """One operation.

    Attributes:
        op: "input" and "constant", which have a `number`; "astype"; "where"; "isnan", "isfinite"; "logical_and",
            "logical_or", "logical_xor", "logical_not"; one of ARITHMETIC, FUNCTIONS or COMPARISONS; one of REDUCTIONS,
            over the columns, which makes a number for each row; "sum_rows", which only an output takes; or
            "all_finite", which is a number for a part of the elements: those that are computed together.
        args: the operations whose results it takes, by their numbers in the program.
        dtype: of the result.
        number: the number of an input among the operands, or a constant.
        kind: the result's.
        part: whether it depends on an "all_finite".
    """

    op: str
    args: tuple[int, ...]
    dtype: str
    number: float = 0.0
    kind: Kind = Kind.FULL
    part: bool = False

    @property
    def uniform(self) -> bool:
        """Whether it is one number, at least for all elements of a row."""
        return self.kind in (Kind.NUMBER, Kind.ROW)


class Output(NamedTuple):
    """The operation that gives an output, and the output's own kind."""

    node: int
    kind: Kind


@dataclass(frozen=True)
class VectorProgram:
    """A traced function.

    Attributes:
        dtype: of all results that are not uniform, except those that are bool: float32 or float64.
        rows, columns: how many rows there are, and how many elements each has; 0: nothing depends on rows.
        nodes: the operations; each comes after those that it takes.
        outputs: where each output comes from; None for one that is not wanted.
    """

    dtype: str
    rows: int
    columns: int
    nodes: tuple[Node, ...]
    outputs: tuple[Output | None, ...]

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """The pass over a row in which each result is there first: a reduction ends one, and is there in the next."""
        found: list[int] = []
        for node in self.nodes:
            found.append(max((found[a] for a in node.args), default=0) + (node.op in REDUCTIONS))
        return tuple(found)

    def reductions(self, phase: int) -> list[int]:
        """The reductions that a phase makes."""
        return [i for i, node in enumerate(self.nodes) if node.op in REDUCTIONS and self.phases[i] == phase + 1]

    def vanishes(self, zeros: Container[int], outputs: Iterable[int]) -> bool:
        """Whether these outputs are certainly zero wherever these operands are, and all numbers are finite."""
        zero: list[bool] = []
        for node in self.nodes:
            of = [zero[a] for a in node.args]
            match node.op:
                case "input":
                    found = node.number in zeros
                case "constant":
                    found = node.number == 0
                case "multiply":
                    found = any(of)
                case "divide":
                    found = of[0]
                case "where":
                    found = of[1] and of[2]
                case op:
                    found = op in ZERO_AT_ZERO and all(of)
            zero.append(found)
        wanted = [self.outputs[i] for i in outputs]
        return all(zero[output.node] for output in wanted if output is not None)

    def only(self, wanted: Sequence[bool]) -> VectorProgram:
        """The outputs that are wanted, and the operations that they depend on."""
        kept = [output if want else None for output, want in zip(self.outputs, wanted, strict=True)]
        needed: set[int] = set()
        stack = [output.node for output in kept if output is not None]
        while stack:
            if (i := stack.pop()) not in needed:
                needed.add(i)
                stack += self.nodes[i].args
        place = {old: new for new, old in enumerate(sorted(needed))}
        nodes = tuple(self.nodes[i]._replace(args=tuple(place[a] for a in self.nodes[i].args)) for i in sorted(needed))
        placed = (None if output is None else output._replace(node=place[output.node]) for output in kept)
        return VectorProgram(self.dtype, self.rows, self.columns, nodes, tuple(placed))


class Recorder:
    """Records operations, each distinct one once.

    Args:
        shape: that of the results of kind FULL.
        dtype: theirs, except that they may be bool.

    Attributes:
        axes: how many of the last axes are those of a row; 0: not known yet.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.axes = 0
        self.nodes: list[Node] = []
        self._numbers: dict[tuple[object, ...], int] = {}

    @property
    def rows(self) -> tuple[int, ...]:
        """The shape of what has one element for each row."""
        return self.shape[: len(self.shape) - self.axes] if self.axes else ()

    def divide(self, axes: int) -> None:
        """Rows have so many axes.

        Raises:
            Untraceable: they have others already.
        """
        if self.axes not in (0, axes):
            raise Untraceable(f"it computes with rows of {self.axes} axes and with rows of {axes} axes")
        self.axes = axes

    def kind(self, shape: tuple[int, ...]) -> Kind:
        """The kind of an operand.

        Raises:
            Untraceable: its shape is none of those that operands have.
        """
        if shape == self.shape:
            return Kind.FULL
        if prod(shape) == 1:
            return Kind.NUMBER
        own = shape[next(i for i, length in enumerate(shape) if length != 1) :]
        ones = len(shape) - next(i for i, length in enumerate(reversed(shape)) if length != 1)
        if len(shape) <= len(self.shape) and own == self.shape[-len(own) :]:
            self.divide(len(own))
            return Kind.COLUMN
        if len(shape) == len(self.shape) and shape[:ones] == self.shape[:ones]:
            self.divide(len(shape) - ones)
            return Kind.ROW
        raise Untraceable(f"its operands have the shapes {self.shape} and {shape}")

    def add(self, op: str, args: Sequence[int], dtype: str, number: float = 0.0, kind: Kind | None = None) -> int:
        """The number of an operation. By default its kind follows from what it takes.

        Raises:
            Untraceable: it is not uniform, and of another dtype than bool and the program's.
        """
        taken = [self.nodes[i] for i in args]
        kind = Kind.of(node.kind for node in taken) if kind is None else kind
        if kind in (Kind.COLUMN, Kind.FULL) and dtype not in (self.dtype, "bool"):
            raise Untraceable(f"it makes an array of {dtype} of one of {self.dtype}")
        if dtype not in ("bool", "int32", "int64", "float32", "float64"):
            raise Untraceable(f"{op} makes a number of dtype {dtype}")
        if any(node.op == "sum_rows" for node in taken):
            raise Untraceable("it computes with a sum of rows")
        part = op == "all_finite" or any(node.part for node in taken)
        # The sign of zero, and NaN, tell constants apart that are equal or not equal to themselves.
        key = (op, *args, dtype, np.float64(number).tobytes(), kind)
        if key not in self._numbers:
            self._numbers[key] = len(self.nodes)
            self.nodes.append(Node(op, tuple(args), dtype, number, kind, part))
        return self._numbers[key]

    def program(self, outputs: Sequence[Output | None]) -> VectorProgram:
        """The operations that the outputs depend on."""
        columns = prod(self.shape[len(self.shape) - self.axes :]) if self.axes else 0
        rows = prod(self.rows) if self.axes else 0
        if self.axes and any(node.part for node in self.nodes):
            raise Untraceable("it checks rows for numbers that are not finite")
        whole = VectorProgram(self.dtype, rows, columns, tuple(self.nodes), tuple(outputs))
        return whole.only([True] * len(outputs))


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
