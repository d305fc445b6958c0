"""Chooses the instruction set: the best that the processor has, or the one that MOCHA_NATIVE_ISA names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from typing import Any

from mocha_core.api import BackendError

VARIABLE = "MOCHA_NATIVE_ISA"


class ISA:
    """The kernels for one instruction set.

    Attributes:
        name: "baseline", "avx2", "avx512".
        lane_bytes: the width of its vectors.
        constants: constants of the compiled kernels, such as the sizes of tiles, by name.
    """

    def __init__(self, name: str = "") -> None:
        from mocha_native._native import ffi, lib

        found = lib.mocha_find_isa(name.encode())
        if found == ffi.NULL:
            names = text(lib.mocha_isa_names).split()
            here = [known for known in names if lib.mocha_find_isa(known.encode()) != ffi.NULL]
            why = "this processor does not have it" if name in names else "this build does not know it"
            raise BackendError(
                f"{VARIABLE}={name}: {why}. Choose one of {', '.join(here)}, or unset it for the best of them."
            )
        self.name = text(found.name)
        self.lane_bytes = int(found.lane_bytes)
        self.constants: dict[str, int] = {}
        self._kernels: dict[str, Any] = {}
        for family in terminated(found.families, lambda family: family == ffi.NULL):
            entries = terminated(family.entries, lambda entry: entry.name == ffi.NULL)
            constants = terminated(family.constants, lambda constant: constant.name == ffi.NULL)
            self._kernels |= {text(entry.name): entry.kernel for entry in entries}
            self.constants |= {text(constant.name): int(constant.value) for constant in constants}

    def kernel(self, name: str) -> Any:
        """The C function of that name, such as "dropout_forward_float32"."""
        return self._kernels[name]


def terminated(array: Any, last: Callable[[Any], bool]) -> Iterator[Any]:
    """The elements of a C array up to its end mark."""
    return takewhile(lambda element: not last(element), (array[i] for i in count()))


def text(chars: Any) -> str:
    """A C string as Python's."""
    from mocha_native._native import ffi

    return str(ffi.string(chars).decode())


def chosen() -> ISA:
    """The kernels that this process uses.

    Raises:
        BackendError: MOCHA_NATIVE_ISA names an instruction set that this processor or this build does not have.
    """
    return ISA(os.environ.get(VARIABLE, ""))


def unavailable() -> str:
    """The reason why the backend cannot run here; empty if it can."""
    try:
        chosen()
    except ImportError as error:
        return (
            f"its compiled extension cannot be loaded ({error}). Build it with gcc or clang: "
            "pip install --force-reinstall --no-deps mocha-native"
        )
    except BackendError as error:
        return str(error)
    return ""
