"""Describes the extension to cffi. `setup.py` compiles the kernels and the executor, and links them into it."""

from pathlib import Path

from cffi import FFI

#: The path is relative to the folder of `setup.py`, in which setuptools builds.
SOURCES = Path("csrc")

ffi = FFI()
ffi.cdef((SOURCES / "api.h").read_text(encoding="utf-8"))
ffi.set_source("mocha_native._native", '#include "mocha.h"', include_dirs=[str(SOURCES)], libraries=["m", "pthread"])
