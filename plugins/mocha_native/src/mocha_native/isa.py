"""Which instruction set's kernels are used: the best that the processor has, or what MOCHA_NATIVE_ISA says."""

from __future__ import annotations

import os
from typing import Any

from mocha_core.errors import BackendError

VARIABLE = "MOCHA_NATIVE_ISA"


class ISA:
    """The kernels for one instruction set.

    Attributes:
        name: "baseline", "avx2", "avx512".
        panel_bytes: of one row of the inner product's packed operand.
        panel_rows: at most so many rows of it are packed at once.
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
        self.panel_bytes = int(found.panel_bytes)
        self.panel_rows = int(found.panel_rows)
        self._kernels = {text(e.name): e.kernel for e in ffi.unpack(found.entries, found.count)}

    def kernel(self, name: str) -> Any:
        """The C function of that name, such as "relu_forward_float32"."""
        return self._kernels[name]


def text(chars: Any) -> str:
    """A C string as Python's."""
    from mocha_native._native import ffi

    return str(ffi.string(chars).decode())


def chosen() -> ISA:
    """The kernels that this process uses.

    Raises:
        BackendError: MOCHA_NATIVE_ISA names an instruction set that is not there.
    """
    return ISA(os.environ.get(VARIABLE, ""))


def unavailable() -> str:
    """Why the backend cannot be used here; empty if it can."""
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
