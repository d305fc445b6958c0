"""Describes the extension with the kernels to cffi."""

from pathlib import Path

from cffi import FFI
from mocha_native import get_include

CSRC = Path("src/acme_swish_native/csrc")

ffi = FFI()
ffi.cdef("const void *acme_swish(void);")
ffi.set_source(
    "acme_swish_native._kernels",
    '#include "library.c"',
    include_dirs=[get_include(), str(CSRC)],
    depends=[*map(str, CSRC.iterdir()), *map(str, Path(get_include(), "mocha").iterdir())],
    extra_compile_args=["-O3", "-ffp-contract=fast", "-Wall", "-Wextra"],
    libraries=["m"],
)
