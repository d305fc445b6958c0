"""Describes the extension to cffi. `setup.py` compiles the kernels and the executor, and links them into it."""

from pathlib import Path

from cffi import FFI

#: The paths are relative to the folder of `setup.py`, in which setuptools builds.
SOURCES = Path("csrc")
INCLUDE = Path("src/mocha_native/include")

ffi = FFI()
for declarations in (INCLUDE / "mocha" / "abi.h", SOURCES / "api.h"):
    ffi.cdef(declarations.read_text(encoding="utf-8"))
include_dirs = [str(SOURCES), str(INCLUDE)]
ffi.set_source(
    "mocha_native._native",
    '#include "rows.c"',
    include_dirs=include_dirs,
    libraries=["m", "pthread"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")],  # Python 3.11
)
