"""`Chain`: what the C kernel of csrc/kernels/vector_program.h runs, before places have addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import Any

from mocha_core.api import REDUCTIONS, Kind, Untraceable, VectorProgram
from mocha_native._native import ffi
from mocha_native.compiled import Array, Buffers, address
from mocha_native.links import Link, Number, Place
from mocha_native.phases import Phases

#: The numbers of dtypes in C.
DTYPES = {"bool": 0, "int32": 1, "int64": 2, "float32": 3, "float64": 4}
#: Operations on arrays that C has under other names, or only with numbers.
TWO = ("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum", "less", "less_equal", "equal", "not_equal",
       "logical_and", "logical_or", "logical_xor")  # fmt: skip


class Chain:
    """The operations of a program on numbers and on blocks, in the order in which C runs them.

    Args: as of `mocha_native.encode.encode`; `links` are the names of C's links.
    """

    def __init__(
        self,
        links: Container[str],
        program: VectorProgram,
        ins: Buffers,
        outs: Buffers,
        add: Sequence[bool],
        copies: Array | None,
        sums: Array | None,
    ) -> None:
        self.known, self.nodes, self.outputs = links, program.nodes, program.outputs
        self.program, self.columns = program, program.columns
        self.ins, self.outs, self.add, self.copies, self.sums = ins, outs, add, copies, sums
        self.operands: list[tuple[int, int, int, int, int]] = []
        self.cells: list[tuple[int, int, int, int, int]] = []
        self.constants: list[float] = []
        self.phases = Phases(program)
        #: Those that are computed once, those that depend on checks, and those of each phase.
        self.numbers: list[list[Number]] = [[] for _ in range(3 + self.phases.last)]
        self.links: list[Link] = []
        #: Where the links of each phase end.
        self.ends: list[int] = []
        self.n_numbers = self.n_blocks = self.n_kept = 0
        self.phase = 0
        self.places: dict[int, Place] = {}
        self.inverses: dict[int, Place] = {}
        self.unchecked: set[int] = set()
        #: The block of each reduction.
        self.accumulators: dict[int, Place] = {}
        self.written = Counter(where(out) for out in outs if out is not None)
        self.inputs = {where(ins[int(node.number)]): i for i, node in enumerate(self.nodes) if node.op == "input"}

    def run(self) -> None:
        for i, node in enumerate(self.nodes):
            if node.kind is Kind.NUMBER:
                self.number(i, int(node.part))
        for phase in range(self.phases.last + 1):
            self.phase = phase
            self.places = {i: place for i, place in self.places.items() if place.kind != "block"}
            for i, node in enumerate(self.nodes):
                if node.kind is Kind.ROW and self.program.phases[i] == self.phase:
                    self.number(i, 2 + self.phase)
            for i in self.program.reductions(self.phase):
                self.reduce(i)
            if self.phase == self.phases.last:
                self.finish()
            self.ends.append(len(self.links))

    def reduce(self, i: int) -> None:
        node, block = self.nodes[i], self.new_block()
        self.take(node.args[0])
        self.links.append(Link(node.op, (block,)))
        self.accumulators[i] = block

    def finish(self) -> None:
        self.check()
        stores = [k for k, output in enumerate(self.outputs) if output is not None and self.outs[k] is not None]
        late: list[int] = []
        for at, k in enumerate(stores):
            self.output(k, {where(self.outs[k]) for k in late} | self.read(stores[at + 1 :]), late)
        for k in late:
            self.store(k)

    # Numbers

    def number(self, i: int, section: int) -> None:
        node = self.nodes[i]
        op, args = node.op, tuple(self.places[a].at for a in node.args if self.nodes[a].uniform)
        if op == "constant":
            args = (len(self.constants),)
            self.constants.append(node.number)
        elif op == "input":
            array = self.ins[int(node.number)]
            row = array.itemsize if node.kind is Kind.ROW else 0
            args = (self.operand(self.cell(array), 0, row).at, 0, DTYPES[node.dtype])
        elif op in REDUCTIONS:
            op, args = f"{op}_of", (list(self.accumulators).index(i),)
        self.places[i] = self.new_number(op, args, node.dtype, section)

    def new_number(self, op: str, args: tuple[int, ...], dtype: str, section: int) -> Place:
        self.numbers[section].append(Number(op, self.n_numbers, args, dtype))
        self.n_numbers += 1
        return Place("number", self.n_numbers - 1)

    def cell(self, array: Array) -> Array:
        """A number in memory, or its copy if the program changes it."""
        if where(array) not in self.written:
            return array
        if self.copies is None or len(self.cells) == len(self.copies):
            raise Untraceable("there is no room to copy a number that it changes")
        self.cells.append((where(array), array.itemsize, 0, 0, 0))
        return self.copies[len(self.cells) - 1 :][:1]

    def operand(self, array: Array, itemsize: int, row: int | None = None, part: int = 0) -> Place:
        row = self.columns * itemsize if row is None else row
        entry = (where(array), itemsize, row, part, int(where(array) in self.written or part > 0))
        if entry not in self.operands:
            self.operands.append(entry)
        return Place("operand", self.operands.index(entry))

    # Blocks: each method appends links after which the result is in registers.

    def link(self, op: str, *operands: Place | None) -> None:
        """An operation whose name ends with the letters of its operands; None is for the registers."""
        letters = "".join("a" if place is None else place.letter for place in operands)
        if f"vl_{op}_{letters}" not in self.known:  # it commutes
            letters, operands = letters[::-1], operands[::-1]
        self.links.append(Link(f"{op}_{letters}", operands))

    def new_block(self) -> Place:
        self.n_blocks += 1
        return Place("block", self.n_blocks - 1)

    def place(self, i: int) -> Place | None:
        """Where links can take a result from."""
        node = self.nodes[i]
        if i not in self.places and node.op == "input" and node.dtype != "bool":
            array = self.ins[int(node.number)]
            self.places[i] = self.operand(array, array.itemsize, 0 if node.kind is Kind.COLUMN else None)
        return self.places.get(i)

    def take(self, i: int) -> None:
        place = self.place(i)
        if place is not None:
            self.links.append(Link(f"load_{place.letter}", (place,)))
            return
        self.compute(i)
        if i in self.unchecked:
            self.unchecked.remove(i)
            self.links.append(Link("check"))
        if i in self.phases.kept:
            self.places[i] = Place("kept", self.n_kept)
            self.n_kept += 1
            self.links.append(Link("store", (self.places[i],)))
        elif self.used(i) > 1:
            self.set_aside(i)

    def used(self, i: int) -> int:
        """How often this phase takes a result."""
        return self.phases.uses[self.phase][i]

    def set_aside(self, i: int) -> Place:
        """Store the registers, which stay as they are."""
        if i not in self.places:
            self.places[i] = self.new_block()
            self.links.append(Link("store", (self.places[i],)))
        return self.places[i]

    def gather(self, *args: int) -> list[Place | None]:
        """Take one of the results that have no place; the others get one."""
        absent = [a for a in dict.fromkeys(args) if self.place(a) is None]
        for a in absent[1:]:
            if self.place(a) is None:
                self.take(a)
                self.set_aside(a)
        if not absent:
            return [self.place(a) for a in args]
        self.take(absent[0])
        # Of an operand that is taken twice, one is in registers.
        at = args.index(absent[0])
        return [None if k == at else self.place(a) or self.set_aside(a) for k, a in enumerate(args)]

    def compute(self, i: int) -> None:
        node = self.nodes[i]
        op, args = node.op, node.args
        if op == "input":
            array = self.ins[int(node.number)]
            row = 0 if node.kind is Kind.COLUMN else None
            self.links.append(Link("load_mask", (self.operand(array, 1, row),)))
        elif op == "where":
            self.choose(*args)
        elif op == "divide" and self.nodes[args[1]].uniform:
            self.take(args[0])
            self.links.append(Link("quotient", (None, self.places[args[1]], self.inverse(args[1]))))
        elif op in ("add", "subtract") and self.multiply_add(op, args):
            pass
        elif op in TWO:
            self.link(op, *self.gather(*args))
        elif op == "square" and self.place(args[0]) is not None:
            self.link("multiply", self.place(args[0]), self.place(args[0]))
        else:
            self.take(args[0])
            if op == "astype":
                if "bool" not in (node.dtype, self.nodes[args[0]].dtype):
                    raise Untraceable(f"it casts an array to {node.dtype}")
                op = "to_mask" if node.dtype == "bool" else "to_number"
            self.links.append(Link(f"{op}_a", ()))

    def multiply_add(self, op: str, args: tuple[int, ...]) -> bool:
        """A product and its sum or difference with another result as one link, if there is one."""
        products = [k for k, a in enumerate(args) if self.nodes[a].op == "multiply" and self.inline(a)]
        if not products:
            return False
        # Best a product of operands in memory: its sum with registers takes no other memory.
        at = max(products, key=lambda k: all(self.place(a) is not None for a in self.nodes[args[k]].args))
        x, y = sorted(self.nodes[args[at]].args, key=lambda a: self.nodes[a].uniform)
        z = args[1 - at]
        name = "multiply_add" if op == "add" else "multiply_from" if at else "multiply_subtract"
        if self.place(z) is None:
            self.take(z)
            if self.place(x) is not None and self.place(y) is not None:
                self.link(name, self.place(x), self.place(y), None)
                return True
            self.set_aside(z)
        first, second = self.gather(x, y)
        if second is None:
            first, second = second, first
        self.link(name, first, second, self.place(z))
        return True

    def inline(self, i: int) -> bool:
        """Whether only one link takes a result, which is not computed yet."""
        return not self.nodes[i].uniform and i not in self.places and i not in self.phases.kept and self.used(i) == 1

    def choose(self, condition: int, yes: int, no: int) -> None:
        if self.nodes[condition].uniform:
            places = self.gather(yes, no)
            letters = "".join("a" if place is None else place.letter for place in places)
            self.links.append(Link(f"either_{letters}", (self.places[condition], *places)))
        elif not self.compare(condition, yes, no):
            if self.place(yes) is not None and self.place(no) is not None:
                self.take(condition)
                places = [None, self.place(yes), self.place(no)]
            else:
                if self.place(condition) is None:
                    self.take(condition)
                    self.set_aside(condition)
                places = [self.place(condition), *self.gather(yes, no)]
            self.link("where", *places)

    def compare(self, condition: int, yes: int, no: int) -> bool:
        """The choice by a comparison with a number, as one link, if there is one."""
        node = self.nodes[condition]
        number = next((k for k, a in enumerate(node.args) if self.nodes[a].uniform), None)
        if node.op not in ("less", "less_equal") or number is None or not self.inline(condition):
            return False
        if self.nodes[yes].uniform and self.nodes[no].uniform:
            return False
        compared = node.args[1 - number]
        held = self.place(compared) is None and self.place(yes) is not None and self.place(no) is not None
        if self.place(compared) is None:
            self.take(compared)
            if not held:
                self.set_aside(compared)
        chosen = self.gather(yes, no)
        first = [None if held and a == compared else self.place(a) for a in node.args]
        self.link(f"where_{node.op}", *first, *chosen)
        return True

    def inverse(self, i: int) -> Place:
        node = self.nodes[i]
        if i not in self.inverses:
            section = 2 + self.program.phases[i] if node.kind is Kind.ROW else int(node.part)
            self.inverses[i] = self.new_number("inverse", (self.places[i].at,), node.dtype, section)
        return self.inverses[i]

    def check(self) -> None:
        checks = [node for node in self.nodes if node.op == "all_finite"]
        if len(checks) > 1:
            raise Untraceable("it checks several times whether numbers are finite")
        if not checks:
            return
        self.unchecked.update(checks[0].args)
        for i in checks[0].args:
            if i in self.unchecked:
                self.take(i)
        for i in list(self.unchecked):  # inputs
            self.take(i)
            self.links.append(Link("check"))
        self.unchecked.clear()
        self.links.append(Link("decide"))

    # Outputs

    def read(self, stores: Sequence[int]) -> set[int]:
        """The addresses of inputs that the values of outputs still depend on."""
        stack = [output.node for k in stores if (output := self.outputs[k]) is not None]
        found: set[int] = set()
        seen: set[int] = set()
        while stack:
            i = stack.pop()
            node = self.nodes[i]
            if i in seen or (i in self.places and self.places[i].kind != "operand"):
                continue
            seen.add(i)
            if node.op == "input":
                found.add(where(self.ins[int(node.number)]))
            stack += node.args
        return found

    def output(self, k: int, taken: set[int], late: list[int]) -> None:
        """Compute an output, and store it unless that memory is still needed."""
        output, out = self.outputs[k], self.outs[k]
        assert output is not None
        if output.kind in (Kind.NUMBER, Kind.ROW):
            self.store_number(k)
        elif output.kind is Kind.COLUMN:
            self.add_row(k)
        elif where(out) in taken:
            self.take(output.node)
            if self.places.get(output.node, Place("operand", 0)).kind == "operand":
                self.places.pop(output.node, None)
                self.set_aside(output.node)
            late.append(k)
        else:
            self.store(k)

    def store(self, k: int) -> None:
        output, out = self.outputs[k], self.outs[k]
        assert output is not None
        operand = self.operand(out, out.itemsize)
        if self.add[k] and (place := self.place(output.node)) is not None:
            self.link("add", operand, place)
        else:
            self.take(output.node)
            if self.add[k]:
                self.link("add", None, operand)
        *_, last = self.links
        if last.op == "either_bb" and self.nodes[output.node].dtype != "bool":
            self.links[-1] = Link("put", (*last.operands, operand))
            return
        self.links.append(Link("store_mask" if self.nodes[output.node].dtype == "bool" else "store", (operand,)))

    def add_row(self, k: int) -> None:
        """Add the row to the sum of its part."""
        output = self.outputs[k]
        assert output is not None
        assert self.sums is not None
        at = sum(one is not None and one.kind is Kind.COLUMN for one in self.outputs[:k])
        sums = self.sums[at]
        operand = self.operand(sums, sums.itemsize, 0, self.columns * sums.itemsize)
        self.take(self.nodes[output.node].args[0])
        self.link("add", None, operand)
        self.links.append(Link("store", (operand,)))

    def store_number(self, k: int) -> None:
        output, out = self.outputs[k], self.outs[k]
        assert output is not None
        node, value = self.nodes[output.node], self.places[output.node].at
        if self.add[k]:
            raise Untraceable("it adds to one number")
        if output.kind is Kind.ROW:
            operand = self.operand(out, 0, out.itemsize)
            section = 2 + self.program.phases[output.node] if node.kind is Kind.ROW else 2
            self.numbers[section].append(Number("store_row", operand.at, (value,), node.dtype))
        elif not node.part:
            self.numbers[0].append(Number("store", self.operand(out, 0, 0).at, (value,), node.dtype))
        elif where(out) in self.inputs:
            old = self.places[self.inputs[where(out)]].at
            operand = self.operand(out, 0, 0)
            self.numbers[1].append(Number("store_changed", operand.at, (value, old), node.dtype))
        else:
            raise Untraceable("parts of the arrays decide a number, which replaces no other")


def where(array: Any) -> int:
    """The address of an array."""
    return int(ffi.cast("intptr_t", address(array)))
