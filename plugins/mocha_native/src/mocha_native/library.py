"""`Library`: C kernels of an extension that another distribution has built."""

from __future__ import annotations

from importlib.metadata import version
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from mocha_core.api import PluginError
from mocha_native._native import ffi, lib
from mocha_native.isa import terminated, text

if TYPE_CHECKING:
    from mocha_native.isa import ISA

#: The instruction set that every processor has.
BASELINE = "baseline"


class Library:
    """The kernels of an extension, for several instruction sets.

    Args:
        distribution: the name of the distribution that has the extension, for errors.
        pointer: what the function that `mocha/library.h` defines has returned: a pointer of cffi, or an address. The
            extension stays loaded as long as the library is used.

    Raises:
        PluginError: the extension was compiled for another version of the interface; the message names both.
    """

    def __init__(self, distribution: str, pointer: Any) -> None:
        self.distribution = distribution
        found = ffi.cast("const mocha_library *", pointer)
        if found.abi != lib.MOCHA_ABI:
            raise PluginError(
                f"The kernels of {distribution} were compiled for version {found.abi} of the interface of kernels, but "
                f"mocha-native {version('mocha-native')} has version {lib.MOCHA_ABI}. Build them again with its "
                f"headers: pip install --force-reinstall --no-deps --no-cache-dir --no-binary {distribution} "
                f"{distribution}"
            )
        found.meet[0] = ffi.addressof(lib, "mocha_meet")
        self._tables = {
            text(table.isa): {text(e.name): e.kernel for e in terminated(table.entries, lambda e: e.name == ffi.NULL)}
            for table in terminated(found.tables, lambda table: table.isa == ffi.NULL)
        }
        if BASELINE not in self._tables:
            raise PluginError(
                f"The kernels of {distribution} are for {', '.join(self._tables) or 'no instruction set'}: expected "
                f"them also for '{BASELINE}', for processors without others."
            )

    def kernel(self, isa: ISA, name: str) -> Any:
        """The C function of that name for the best instruction set, up to `isa`, that the library has.

        Raises:
            PluginError: the library has no such kernel.
        """
        usable = dropwhile(lambda known: known != isa.name, text(lib.mocha_isa_names).split())
        table = self._tables[next(known for known in usable if known in self._tables)]
        if name not in table:
            raise PluginError(f"{self.distribution} has no C kernel '{name}'. It has {', '.join(sorted(table))}.")
        return table[name]
