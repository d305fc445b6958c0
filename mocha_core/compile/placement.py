"""The placement pass: which bytes of a program's arenas each short-lived value gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.compile.budget import allocating
from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import PLAIN
from mocha_core.compile.layout_pass import Arrangement
from mocha_core.compile.storage import Storage, array_in_arena, make_arenas
from mocha_core.graph.array_api import Array
from mocha_core.graph.plan import Call, Half, Plan, Section, Step
from mocha_core.graph.value import Spec, Value, aligned_elements, nbytes

if TYPE_CHECKING:
    from mocha_core.compile.device import Device


@dataclass
class Block:
    """A value's piece of an arena: its offset, and the first and last step at which it holds data."""

    value: Value
    spec: Spec
    first: int
    last: int
    offset: int = 0

    @property
    def end(self) -> int:
        return self.offset + aligned_elements(self.spec)


@dataclass(repr=False)
class Memory:
    """The buffers of a program's values, among them each kernel's saves and workspaces."""

    buffers: dict[Value, Array] = field(default_factory=dict)
    blocks: dict[Value, Block] = field(default_factory=dict)
    overwritten: set[Value] = field(default_factory=set)
    """Values whose memory is used for another value later in the run."""
    saves: dict[Call, list[Value]] = field(default_factory=dict)
    workspaces: dict[Step, list[Value]] = field(default_factory=dict)
    total: int = 0
    """The bytes of the arenas."""

    def __repr__(self) -> str:
        return f"<Memory of {len(self.buffers)} values: {self.total:,} bytes>"


def place(
    plan: Plan, arrangement: Arrangement, kernels: Mapping[Call, Kernel], storage: Storage, backend: Device
) -> Memory:
    """Give every value of a program a buffer; short-lived values whose lives do not overlap may share memory.

    Raises:
        BackendError: the arenas do not fit into memory; the error names the largest values and the total.
    """
    memory = Memory()
    _measure(plan, arrangement, kernels, memory)
    by_dtype: dict[str, list[Block]] = {}
    for block in memory.blocks.values():
        by_dtype.setdefault(block.spec.dtype, []).append(block)
    sizes = {dtype: _assign(blocks) for dtype, blocks in by_dtype.items()}
    memory.total = sum(nbytes(Spec((size,), dtype)) for dtype, size in sizes.items())
    pieces = [(block.value.name, block.spec) for block in memory.blocks.values()]
    arenas = make_arenas(backend, sizes, plan.title, pieces, plan.smaller)
    for dtype, blocks in by_dtype.items():
        memory.overwritten |= _overwritten(blocks)
        for block in blocks:
            memory.buffers[block.value] = array_in_arena(
                backend, arenas[dtype], block.offset, block.spec.shape, block.spec.size
            )
    for step in arrangement.steps:
        for value in (*step.ins, *step.outs):
            if value is not None:
                _bind(value, memory, storage, backend)
    return memory


def check_largest(plan: Plan, steps: Iterable[Step], backend: Device) -> None:
    """Refuse a single value that does not fit into memory, before kernels are made: these may make tables of its size.

    Raises:
        BackendError: names the value.
    """
    values = [v.root for step in steps for v in (*step.ins, *step.outs) if v is not None and v.transient]
    pieces = [(value.name, value.spec) for value in dict.fromkeys(values)]
    largest = max((nbytes(spec) for _, spec in pieces), default=0)
    with allocating(f"{plan.title}, its largest value alone", pieces, plan.smaller, total=largest, backend=backend):
        pass


def _measure(plan: Plan, arrangement: Arrangement, kernels: Mapping[Call, Kernel], memory: Memory) -> None:
    """Find out how large each short-lived value is, and when it is alive."""
    end = len(arrangement.steps)

    def touch(value: Value, spec: Spec, at: int, lasting: bool = False) -> None:
        block = memory.blocks.setdefault(value, Block(value, spec, at, at))
        block.last = end if lasting else max(block.last, at)

    for at, step in enumerate(arrangement.steps):
        # A section that runs alone may run again, so its inputs must survive the run.
        lasting = step.section is Section.PACK or (plan.sectioned and step.section is Section.FORWARD)
        for value in [v.root for v in (*step.ins, *step.outs) if v is not None and v.transient]:
            touch(value, arrangement.home(value).physical(value.spec), at, lasting)
        kernel = kernels[step.call]
        if kernel.saves and step.call not in memory.saves:
            memory.saves[step.call] = _private(step, "saved", kernel.saves)
        for value in memory.saves.get(step.call, ()):
            touch(value, value.spec, at, lasting)
        forward = step.half is Half.FORWARD
        workspace = kernel.forward_workspace if forward else kernel.backward_workspace
        memory.workspaces[step] = _private(step, "workspace", workspace)
        for value in memory.workspaces[step]:
            touch(value, value.spec, at)
    for value, block in memory.blocks.items():
        if value.keep or value in plan.inputs.values():
            block.first = 0
        if value.keep:
            block.last = end


def _private(step: Step, what: str, specs: Iterable[Spec]) -> list[Value]:
    return [Value(f"{step.call.layer}.{step.call.op.name} {what}", *spec) for spec in specs]


class _Placed:
    """The first and last step and the bytes' bounds of the blocks placed so far, as columns in the order of offsets."""

    def __init__(self, most: int) -> None:
        self._table = np.empty((4, most), np.int64)
        self._count = 0

    def add(self, block: Block) -> None:
        """Place a block at the lowest offset that is free in its life."""
        size = aligned_elements(block.spec)
        first, last, begin, end = self._table[:, : self._count]
        alive = (first <= block.last) & (block.first <= last)
        begins, free_from = begin[alive], np.maximum.accumulate(np.append(0, end[alive]))
        # The first gap that is large enough, or else the end of all.
        gaps = np.flatnonzero(free_from[:-1] + size <= begins)
        block.offset = int(free_from[gaps[0] if len(gaps) else -1])
        at = int(np.searchsorted(begin, block.offset, "right"))
        self._count += 1
        self._table[:, at + 1 : self._count] = self._table[:, at : self._count - 1]
        self._table[:, at] = block.first, block.last, block.offset, block.offset + size


def _assign(blocks: list[Block]) -> int:
    """Place blocks, the largest first; return the elements needed."""
    placed = _Placed(len(blocks))
    for block in sorted(blocks, key=lambda b: (-b.spec.size, b.first)):
        placed.add(block)
    return max((block.end for block in blocks), default=0)


def _overwritten(blocks: list[Block]) -> set[Value]:
    first, offset, end = np.asarray([(b.first, b.offset, b.end) for b in blocks], np.int64).reshape(-1, 3).T
    return {
        block.value for block in blocks if np.any((first > block.last) & (offset < block.end) & (block.offset < end))
    }


def _bind(value: Value, memory: Memory, storage: Storage, backend: Device) -> None:
    if value in memory.buffers:
        return
    root = value.root
    if root not in memory.buffers:
        storage.allocate([root])
        memory.buffers[root] = storage[root]
    if value.base is not None:
        memory.buffers[value] = backend.xp.reshape(memory.buffers[root], value.shape)


def plain_copy(value: Value, memory: Memory, arrangement: Arrangement, backend: Device) -> Array:
    """The contents of a value, in any layout, as a plain array of the backend."""
    home, buffer = arrangement.home(value), memory.buffers[value]
    if home is PLAIN:
        return buffer
    plain = backend.empty(value.shape, value.dtype)
    home.unpack(backend, buffer, plain, add=False)
    return plain
