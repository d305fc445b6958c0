"""`HostDevice`: what mocha_cuda's `Device` offers, on the host: NumPy arrays, and kernels compiled by g++.

A launch's operands are checked against the kernel's signature: on a GPU, a wrong one would be read as something else.
"""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from mocha_cuda.nvrtc import REALS, SOURCES, source_of

HERE = Path(__file__).parent
FLAGS = [
    "-std=c++17",
    "-O1",
    "-shared",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",
    "-Wno-unknown-pragmas",
]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]
#: The compiler needs no library of the sanitizers, which slows it.
COMPILER = os.environ | {"LD_PRELOAD": ""}


class HostDevice:
    """The first of one device, with a stream in which everything is done at once."""

    xp = np
    name, architecture, multiprocessors, driver, number = "host", 90, 2, 13000, 0

    def __init__(self):
        self._recording = self._guard = None
        self.kernel = cache(HostKernel)

    @contextmanager
    def running(self):
        yield

    def empty(self, shape, dtype):
        return np.empty(shape, dtype)

    def to_numpy(self, array):
        return np.array(array)

    def copy_from_numpy(self, array, source):
        if self._guard is None or self._guard == 0:
            array[...] = source

    @contextmanager
    def guarded(self, status):
        self._guard = status
        try:
            yield
        finally:
            self._guard = None

    def address(self, array):
        return array.ctypes.data

    def free_bytes(self):
        return 1 << 30

    def release(self):
        pass

    def launch(self, kernel, grid, block, arguments):
        kernel.check(arguments)
        self.submit(lambda: kernel.run(grid, block, arguments))

    def submit(self, work):
        """Do it, or while a graph is recorded, only when that is launched: as a capturing stream."""
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def record(self, run):
        self._recording = recorded = []
        try:
            run()
        finally:
            self._recording = None

        def replay():
            for work in recorded:
                work()

        return replay


class HostKernel:
    """One kernel of `source_of(family)`."""

    def __init__(self, family, name, dtype):
        self.name = name
        library = built(family, dtype)
        self._function = library[f"host_{name}"]
        signature = library[f"signature_{name}"]
        signature.restype = ctypes.c_char_p
        self.signature = signature().decode().split()

    def check(self, arguments):
        received = [
            expected if argument is None and expected.endswith("*") else described(argument)
            for argument, expected in zip(arguments, self.signature, strict=False)
        ]
        received += map(described, arguments[len(received) :])
        assert received == self.signature, f"{self.name}: expected {self.signature}, received {received}"

    def run(self, grid, block, arguments):
        held = [_cell(argument) for argument in arguments]
        operands = (ctypes.c_void_p * len(held))(*(ctypes.addressof(cell) for cell in held))
        assert 0 < block <= 1024
        assert grid[0] < 2**31
        assert all(0 < size < 2**16 for size in grid[1:])
        self._function((ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid))), ctypes.c_uint(block), operands)


def described(argument):
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return f"{argument.dtype}*"
    return str(argument.dtype) if isinstance(argument, np.generic) else type(argument).__name__


def _cell(argument):
    if argument is None or isinstance(argument, np.ndarray):
        return ctypes.c_void_p(None if argument is None else argument.ctypes.data)
    return ctypes.create_string_buffer(argument.tobytes(), argument.nbytes)


def kernel_names(family):
    """The kernels that a family defines; those made by a macro are found in the preprocessed source."""
    command = [
        "g++",
        "-E",
        "-P",
        "-std=c++17",
        "-D__global__=MOCHA_GLOBAL",
        "-D__launch_bounds__(...)=",
        "-D__device__=",
    ]
    command += ["-D__shared__=", "-x", "c++", f"-I{SOURCES}", str(source_of(family))]
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=COMPILER).stdout
    return re.findall(r"MOCHA_GLOBAL\s+void\s+(\w+)\s*\(", text)


@cache
def built(family, dtype):
    """A shared library of a family's kernels, built again only where a source changed."""
    names = kernel_names(family)
    lines = ['#include "cuda_on_host.h"', f'#include "{source_of(family)}"', *(f"ON_HOST({name})" for name in names)]
    source = "\n".join(lines) + "\n"
    flags = [*FLAGS, *(SANITIZE if os.environ.get("MOCHA_CUDA_SANITIZE") else ()), f"-DREAL={REALS[dtype]}"]
    parts = [
        source,
        *flags,
        *(path.read_text() for path in sorted((*SOURCES.rglob("*.cu*"), source_of(family), HERE / "cuda_on_host.h"))),
    ]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"mocha-cuda-on-host-{os.getuid()}"
    path = folder / f"{source_of(family).stem}-{dtype}-{digest}.so"
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.so")
        command = ["g++", *flags, f"-I{HERE}", f"-I{SOURCES}", "-x", "c++", "-", "-o", str(temporary)]
        subprocess.run(command, input=source, text=True, check=True, env=COMPILER)
        temporary.replace(path)
    return ctypes.CDLL(str(path))
