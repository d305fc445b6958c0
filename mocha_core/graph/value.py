"""Values: the tensors of a plan, each with a name, a shape, a dtype and a role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from operator import index
from typing import Any, NamedTuple

from mocha_core.checks import shown
from mocha_core.errors import ShapeError


class Spec(NamedTuple):
    """Shape (batch first) and dtype name of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Role(StrEnum):
    """What a value is for, and so how long it lives."""

    BLOB = "blob"
    """Made and read inside one run of a program."""
    GRADIENT = "gradient"
    """The gradient of the objective with respect to a blob; as short-lived as a blob."""
    PARAMETER = "parameter"
    """Learned; owned by the system."""
    PARAMETER_GRADIENT = "parameter gradient"
    """Owned by a net, in one contiguous arena."""
    STATE = "state"
    """Persistent and saved, not learned: running statistics."""
    SHADOW = "shadow"
    """The new contents of a state or a statistic during a run, until they are committed."""
    SLOT = "slot"
    """A solver's memory of one parameter, such as momentum."""
    CELL = "cell"
    """A small value that kernels and Python exchange: learning rate, iteration, loss, status."""
    DATA = "data"
    """A data set that stays on the device."""


@dataclass(eq=False)
class Value:
    """One tensor in a plan; identity is equality.

    A value with a `base` is a view: another shape over the same memory. A value with `keep` can be read from Python
    after a run: fusion does not remove it, and no other value uses its memory.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role = Role.BLOB
    base: Value | None = None
    keep: bool = False
    rows: int | None = None
    """The number of adjacent rows per sample of the minibatch: k in (k * batch, ...). 0 if the rows of different
    samples lie mixed, or are not samples; None if the value does not depend on the minibatch."""

    @property
    def spec(self) -> Spec:
        return Spec(self.shape, self.dtype)

    @property
    def root(self) -> Value:
        """The value that owns the memory: this one, or the one that it views."""
        return self if self.base is None else self.base.root

    @property
    def transient(self) -> bool:
        """Whether the value lives inside one run of one program."""
        return self.root.role in (Role.BLOB, Role.GRADIENT)

    def __repr__(self) -> str:
        return f"<{self.role} {self.name}: {self.spec}>"


#: The bytes of an element, by dtype.
ITEMSIZE = {"bool": 1, "int8": 1, "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8}
ALIGNMENT = 64


def nbytes(spec: Spec) -> int:
    """Bytes of a tensor."""
    return spec.size * ITEMSIZE[spec.dtype]


def aligned_elements(spec: Spec) -> int:
    """The elements that a tensor takes in an arena, in which every tensor begins at a multiple of 64 bytes."""
    unit = ALIGNMENT // ITEMSIZE[spec.dtype]
    return max(1, -(-spec.size // unit)) * unit


def checked_specs(op: str, found: Any) -> tuple[Spec, ...]:
    """The specs that an op inferred.

    Raises:
        ShapeError: `found` is not a tuple of specs.
    """
    try:
        specs = tuple(Spec(tuple(map(index, shape)), dtype) for shape, dtype in found)
    except (TypeError, ValueError):
        specs = (Spec((), "?"),)
    if any(spec.dtype not in ITEMSIZE or min(spec.shape, default=0) < 0 for spec in specs):
        raise ShapeError(
            f"op '{op}' inferred {shown(found)}, expected a tuple with a Spec for each output, such as "
            "(Spec((64, 10), 'float32'),)."
        )
    return specs
