"""`Link` and `Number`: the operations that csrc/kernels/vector_program.h runs, and the places of their operands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Place(NamedTuple):
    """Where a result is: "number", "operand", "block" or "kept" (a row)."""

    kind: str
    at: int

    @property
    def letter(self) -> str:
        """As in the names of links."""
        return "n" if self.kind == "number" else "b"


class Number(NamedTuple):
    """As `vp_instruction`."""

    op: str
    to: int
    args: tuple[int, ...] = ()
    dtype: str = "bool"


class Link(NamedTuple):
    """An operation on blocks, and the places of its operands; None for one that is in registers, or missing."""

    op: str
    operands: tuple[Place | None, ...] = ()


def blocks_of(link: Link) -> Iterator[Place]:
    """The blocks that a link takes or stores."""
    return (place for place in link.operands if place is not None and place.kind == "block")
