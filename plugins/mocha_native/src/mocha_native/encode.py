"""Encodes a `VectorProgram`, and the arrays that it computes with, for csrc/kernels/vector_program.h."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import Untraceable, VectorProgram
from mocha_native._native import ffi
from mocha_native.compiled import Array, Buffers, address

#: The numbers of dtypes in C.
DTYPES = {"bool": 0, "int32": 1, "int64": 2, "float32": 3, "float64": 4}
#: Operations that are loops which the compiler makes vectors of: their result may not replace an operand.
APART = ("sqrt", "floor", "ceil", "round", "load_mask")
#: Operations that the C kernel also does in pairs, and their names there if the first result is the second operand.
ARITHMETIC = ("add", "subtract", "multiply", "divide")
REVERSED = {"subtract": "from", "divide": "over"}


class Place(NamedTuple):
    """Where a result is: "number", "operand", "register" or, for one of several places, "choice"."""

    kind: str
    at: int


class Instruction(NamedTuple):
    """As `vp_instruction`. `raw` are arguments that are no places."""

    op: str
    to: Place
    args: tuple[Place, ...] = ()
    dtype: str = "bool"
    raw: tuple[int, ...] = ()
    once: bool = False


class Code(NamedTuple):
    """What the C kernel takes.

    Attributes:
        instructions: (n, 6) int32.
        constants: float64.
        operands: (n, 3) int64: the address, the bytes of an element or 0 for a number, whether it is written.
        cells: (n, 3) int64: the numbers to copy before, in the order of their copies.
        sizes: numbers, operands, registers, the instructions that run once, all instructions.
    """

    instructions: NDArray[np.int32]
    constants: NDArray[np.float64]
    operands: NDArray[np.int64]
    cells: NDArray[np.int64]
    sizes: tuple[int, ...]


def encode(
    opcodes: Mapping[str, int],
    program: VectorProgram,
    ins: Buffers,
    outs: Buffers,
    add: Sequence[bool],
    copies: Array | None,
) -> Code:
    """The code of a program.

    Args:
        opcodes: the constants of the C kernel.
        program: a traced function.
        ins, outs, add: its operands, as of a step.
        copies: room for the numbers that are read and written, an int64 for each.

    Raises:
        Untraceable: it needs more than the C kernel has.
    """
    encoder = _Encoder(program, ins, outs, add, copies)
    encoder.run()
    return _assembled(opcodes, encoder)


class _Encoder:
    def __init__(
        self, program: VectorProgram, ins: Buffers, outs: Buffers, add: Sequence[bool], copies: Array | None
    ) -> None:
        self.nodes, self.outputs = program.nodes, program.outputs
        self.ins, self.outs, self.add, self.copies = ins, outs, add, copies
        self.operands: list[tuple[int, int, int]] = []
        self.cells: list[tuple[int, int, int]] = []
        self.constants: list[float] = []
        self.code: list[Instruction] = []
        self.numbers = 0
        self.made = 0
        self.places: list[Place] = []
        self.branches: dict[Place, tuple[Place, ...]] = {}
        self.written = Counter(where(out) for out in outs if out is not None)
        self.inputs = {where(ins[int(node.number)]): i for i, node in enumerate(self.nodes) if node.op == "input"}
        self.uses = Counter(a for node in self.nodes for a in node.args)
        self.uses.update(output.node for output in self.outputs if output is not None)

    def run(self) -> None:
        for i, node in enumerate(self.nodes):
            self.places.append(self.input(i) if node.op == "input" else self.operation(i))
        stores = [k for k, output in enumerate(self.outputs) if output is not None and self.outs[k] is not None]
        values = [self.steady(k) for k in stores]
        for k, value in zip(stores, values, strict=True):
            self.store(k, value)

    def operation(self, i: int) -> Place:
        node = self.nodes[i]
        args = tuple(self.places[a] for a in node.args)
        if node.uniform:
            to = self.number()
            raw: tuple[int, ...] = ()
            if node.op == "constant":
                raw = (len(self.constants),)
                self.constants.append(node.number)
            self.code.append(Instruction(node.op, to, args, node.dtype, raw, not node.part))
            return to
        if node.op == "astype" and "bool" not in (node.dtype, self.nodes[node.args[0]].dtype):
            raise Untraceable(f"it casts an array to {node.dtype}")
        if node.op == "where" and [arg.kind == "number" for arg in args] == [True, False, False]:
            to = self.new("choice")
            self.branches[to] = args[1:]
            self.code.append(Instruction("select", to, args))
            return to
        op, args = self.paired(node.op, node.args, args)
        to = self.output(i) or self.new("register")
        self.code.append(Instruction(op, to, args, node.dtype))
        return to

    def paired(self, op: str, numbers: tuple[int, ...], args: tuple[Place, ...]) -> tuple[str, tuple[Place, ...]]:
        """An operation together with the one whose result it alone takes, as an operation of csrc.

        A division by a number is left alone: the C kernel has a faster one.
        """
        for first, other in ((0, 1), (1, 0)) if op in ARITHMETIC else ():
            at = next((k for k, one in enumerate(self.code) if one.to == args[first]), None)
            if at is None or args[first].kind != "register" or self.uses[numbers[first]] > 1:
                continue
            one = self.code[at]
            if one.op in ARITHMETIC and not (one.op == "divide" and one.args[1].kind == "number"):
                del self.code[at]
                second = REVERSED.get(op, op) if first else op
                return f"{one.op}_{second}", (*one.args, args[other])
        return op, args

    def input(self, i: int) -> Place:
        node = self.nodes[i]
        array = self.ins[int(node.number)]
        if not node.uniform:
            operand = self.operand(array, array.itemsize)
            if node.dtype != "bool":
                return operand
            to = self.new("register")
            self.code.append(Instruction("load_mask", to, (operand,)))
            return to
        if where(array) in self.written:
            if self.copies is None or len(self.cells) == len(self.copies):
                raise Untraceable("there is no room to copy a number that it changes")
            self.cells.append((where(array), array.itemsize, 0))
            array = self.copies[len(self.cells) - 1 :][:1]
        raw = (self.operand(array, 0).at, 0, DTYPES[node.dtype])
        to = self.number()
        self.code.append(Instruction("input", to, (), node.dtype, raw, True))
        return to

    def operand(self, array: Array, itemsize: int) -> Place:
        entry = (where(array), itemsize, int(where(array) in self.written))
        if entry not in self.operands:
            self.operands.append(entry)
        return Place("operand", self.operands.index(entry))

    def new(self, kind: str) -> Place:
        self.made += 1
        return Place(kind, self.made)

    def number(self) -> Place:
        self.numbers += 1
        return Place("number", self.numbers - 1)

    def output(self, i: int) -> Place | None:
        """The output that a result can be written to at once, because nothing else needs that memory."""
        mine = [k for k, output in enumerate(self.outputs) if output is not None and output.node == i]
        if len(mine) != 1 or self.nodes[i].dtype == "bool":
            return None
        out = self.outs[mine[0]]
        if out is None or self.add[mine[0]] or where(out) in self.inputs or self.written[where(out)] > 1:
            return None
        return self.operand(out, out.itemsize)

    def steady(self, k: int) -> Place:
        """The place of the value of output k, when other outputs may be stored before it."""
        output = self.outputs[k]
        assert output is not None
        value, out = self.places[output.node], self.outs[k]
        if output.single or not self.overwritten(value, where(out)):
            return value
        to = self.new("register")
        self.code.append(Instruction("store", to, (value,), self.nodes[output.node].dtype))
        return to

    def overwritten(self, value: Place, target: int) -> bool:
        if value.kind == "choice":
            return any(self.overwritten(branch, target) for branch in self.branches[value])
        if value.kind != "operand":
            return False
        at, _, written = self.operands[value.at]
        return bool(written) and (at != target or self.written[at] > 1)

    def store(self, k: int, value: Place) -> None:
        output, out = self.outputs[k], self.outs[k]
        assert output is not None
        node = self.nodes[output.node]
        if output.single:
            self.store_number(k, value)
            return
        operand = self.operand(out, out.itemsize)
        if self.add[k]:
            self.code.append(Instruction("add", operand, (operand, value), node.dtype))
        elif value != operand:
            op = "store_mask" if node.dtype == "bool" else "store"
            self.code.append(Instruction(op, operand, (value,), node.dtype))

    def store_number(self, k: int, value: Place) -> None:
        output, out = self.outputs[k], self.outs[k]
        assert output is not None
        node, operand = self.nodes[output.node], self.operand(out, 0)
        if self.add[k]:
            raise Untraceable("it adds to one number")
        if not node.part:
            self.code.append(Instruction("store", operand, (value,), node.dtype, once=True))
        elif where(out) in self.inputs:
            old = self.places[self.inputs[where(out)]]
            self.code.append(Instruction("store_changed", operand, (value, old), node.dtype))
        else:
            raise Untraceable("parts of the arrays decide a number, which replaces no other")


def _assembled(opcodes: Mapping[str, int], encoder: _Encoder) -> Code:
    once = [one for one in encoder.code if one.once]
    each = [one for one in encoder.code if not one.once]
    last: dict[Place, int] = {}
    for at in reversed(range(len(each))):
        one = each[at]
        until = last.get(one.to, at) if one.op == "select" else at
        for arg in one.args:
            last[arg] = max(last.get(arg, at), until)
    slots: dict[Place, int] = {}
    # A program without registers runs in larger blocks, in other places for another number of threads. Blocks that are
    # looked at as a whole have to be the same.
    registers = int(any(one.op == "all_finite" for one in each))
    free = list(range(registers))
    for at, one in enumerate(each):
        ending = {arg for arg in one.args if arg in slots and last[arg] == at}
        if one.op not in APART:
            free += [slots[arg] for arg in ending]
        if one.to.kind == "register" and one.to not in slots:
            if not free:
                free, registers = [registers], registers + 1
            slots[one.to] = free.pop()
        if one.op in APART:
            free += [slots[arg] for arg in ending]
        # A choice that ends here ends the life of its branches.
        for place in [p for p in slots if last.get(p, at) == at and p not in ending and p != one.to]:
            free.append(slots[place])
            last[place] = -1
    choices = {one.to: k for k, one in enumerate(one for one in each if one.op == "select")}
    counts = {"numbers": encoder.numbers, "operands": len(encoder.operands), "registers": registers}
    for what, count in (*counts.items(), ("slots", sum(counts.values()) + len(choices))):
        if count > opcodes[f"vp_{what}"]:
            raise Untraceable(f"it needs {count} {what}, and there are {opcodes[f'vp_{what}']}")

    def slot(place: Place) -> int:
        match place.kind:
            case "number":
                return place.at
            case "operand":
                return encoder.numbers + place.at
            case "register":
                return encoder.numbers + len(encoder.operands) + slots[place]
        return encoder.numbers + len(encoder.operands) + registers + choices[place]

    def row(one: Instruction) -> list[int]:
        single = one.to.kind == "operand" and (one.once or one.op == "store_changed")
        to = one.to.at if single else slot(one.to)
        args = [*one.raw, *map(slot, one.args), 0, 0, 0][:3]
        return [opcodes[f"vp_{one.op}"], to, *args, DTYPES[one.dtype]]

    return Code(
        np.array([row(one) for one in (*once, *each)], np.int32).reshape(-1, 6),
        np.array(encoder.constants, np.float64),
        np.array(encoder.operands, np.int64).reshape(-1, 3),
        np.array(encoder.cells, np.int64).reshape(-1, 3),
        (encoder.numbers, len(encoder.operands), registers, len(once), len(once) + len(each)),
    )


def where(array: Any) -> int:
    """The address of an array."""
    return int(ffi.cast("intptr_t", address(array)))
