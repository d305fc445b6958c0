"""Encodes a `VectorProgram`, and the arrays that it computes with, for csrc/kernels/vector_program.h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import Untraceable, VectorProgram
from mocha_native.chain import DTYPES, Chain
from mocha_native.compiled import Array, Buffers
from mocha_native.links import Link, Place, blocks_of


class Code(NamedTuple):
    """What the C kernel takes.

    Attributes:
        numbers: (n, 6) int32.
        links: (n, 6) int32.
        constants: float64.
        operands: (n, 5) int64.
        phases: (n, 2) int32.
        cells: (n, 5) int64: the numbers to copy before, in the order of their copies.
        sizes: numbers, operands, blocks, the numbers that are computed once, those and the ones that depend on checks,
            phases, parts, kept rows.
    """

    numbers: NDArray[np.int32]
    links: NDArray[np.int32]
    constants: NDArray[np.float64]
    operands: NDArray[np.int64]
    phases: NDArray[np.int32]
    cells: NDArray[np.int64]
    sizes: tuple[int, ...]


def encode(
    opcodes: Mapping[str, int],
    program: VectorProgram,
    ins: Buffers,
    outs: Buffers,
    add: Sequence[bool],
    copies: Array | None,
    sums: Array | None = None,
) -> Code:
    """The code of a program.

    Args:
        opcodes: the constants of the C kernel.
        program: a traced function.
        ins, outs, add: its operands, as of a step.
        copies: room for the numbers that are read and written, an int64 for each.
        sums: room for the sums of rows: (sums, parts, columns).

    Raises:
        Untraceable: it needs more than the C kernel has.
    """
    chain = Chain(opcodes, program, ins, outs, add, copies, sums)
    chain.run()
    return _assembled(opcodes, chain)


def _assembled(opcodes: Mapping[str, int], chain: Chain) -> Code:
    blocks = _allocated(chain)
    n_links = len(chain.links) + len(chain.ends)
    counts = {"numbers": chain.n_numbers, "operands": len(chain.operands),
              "blocks": max(blocks.values(), default=-1) + 1, "links": n_links}  # fmt: skip
    counts["slots"] = counts["numbers"] + counts["operands"] + counts["blocks"] + chain.n_kept
    for what, count in counts.items():
        if count > opcodes[f"vp_{what}"]:
            raise Untraceable(f"it needs {count} {what}, and there are {opcodes[f'vp_{what}']}")
    first = {"number": 0, "operand": chain.n_numbers, "block": chain.n_numbers + len(chain.operands)}
    first["kept"] = first["block"] + counts["blocks"]

    def slot(place: Place | None) -> int:
        if place is None:
            return 0
        return first[place.kind] + (blocks[place.at] if place.kind == "block" else place.at)

    numbers = [
        [opcodes[f"vp_{one.op}"], one.to, *[*one.args, 0, 0, 0][:3], DTYPES[one.dtype]]
        for section in chain.numbers
        for one in section
    ]
    links: list[Link] = []
    ends = np.cumsum([len(section) for section in chain.numbers])
    phases: list[tuple[int, int]] = []
    for phase, (begin, end) in enumerate(zip([0, *chain.ends], chain.ends, strict=False)):
        if begin < end:
            links += _ended(opcodes, chain.links[begin:end])
        phases.append((int(ends[2 + phase]), len(links)))
    return Code(
        np.array(numbers, np.int32).reshape(-1, 6),
        np.array(
            [[opcodes[f"vl_{op}"], *map(slot, [*places, *[None] * 5][:5])] for op, places in links], np.int32
        ).reshape(-1, 6),
        np.array(chain.constants, np.float64),
        np.array(chain.operands, np.int64).reshape(-1, 5),
        np.array(phases, np.int32),
        np.array(chain.cells, np.int64).reshape(-1, 5),
        (
            *(chain.n_numbers, len(chain.operands), counts["blocks"], int(ends[0]), int(ends[1]), len(phases)),
            *(0 if chain.sums is None else chain.sums.shape[1], chain.n_kept),
        ),
    )


def _ended(opcodes: Mapping[str, int], links: list[Link]) -> list[Link]:
    """A chain with its end: C has links that store their result and begin the chain anew."""
    *some, last = links
    if last.op != "store":
        return [*links, Link("again")]
    if not some or f"vl_{some[-1].op}_last" not in opcodes:
        some = [*some, Link("store")]
    operands = [*some[-1].operands, None, None, None, None][:4]
    return [*some[:-1], Link(f"{some[-1].op}_last", (*operands, *last.operands))]


def _allocated(chain: Chain) -> dict[int, int]:
    """The block for each result that is set aside; they share blocks if one's last use is before the other's first.

    Reductions have the first ones, to themselves.
    """
    found = {place.at: at for at, place in enumerate(chain.accumulators.values())}
    own = set(found)
    last = {place.at: at for at, link in enumerate(chain.links) for place in blocks_of(link)}
    free: list[int] = []
    count = len(found)
    for at, link in enumerate(chain.links):
        for place in blocks_of(link):
            if place.at not in found:
                if not free:
                    free, count = [count], count + 1
                found[place.at] = free.pop()
        free += {found[place.at] for place in blocks_of(link) if last[place.at] == at and place.at not in own}
    return found
