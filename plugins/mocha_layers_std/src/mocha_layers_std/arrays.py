"""Types in the signature of `Op.backward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from mocha_core.array_api import Array

#: Operands; those that the op does not read are None.
Arrays: TypeAlias = Sequence[Array]
Gradients: TypeAlias = tuple[Array | None, ...]
