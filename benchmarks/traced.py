"""Traced references against C: a stranger's Adam and Swish in Python, and the same in C with native's vectors.

    python benchmarks/traced.py [--rounds 31]

For each it prints nanoseconds for a thousand elements, by processor time on one thread, medians of interleaved rounds,
and the ratio traced : C. The C kernels (traced_kernels.h) are compiled with the flags of mocha-native.
MOCHA_NATIVE_ISA chooses the instruction set.
"""

import argparse
import ctypes
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from mocha_native._native import ffi, lib
from mocha_native.backend import NativeBackend
from mocha_native.compiled import Compiled, step_array
from mocha_native.isa import terminated, text

from mocha_core.api import Call, Selector, Value, registries

PLUGIN = Path(__file__).parents[1] / "plugins/mocha_native"
sys.path[:0] = [str(PLUGIN), str(PLUGIN.parents[1] / "tests")]
import objects  # noqa: E402
from traced_ops import AdamUpdate, Swish  # noqa: E402

#: Elements, and steps in a row: in the first-level cache, in the second, in memory.
SIZES = [(1_500, 400), (30_000, 30), (2_000_000, 1)]


class Kernels:
    """The kernels of traced_kernels.h for the backend's instruction set, as `mocha_native.api.Library` has them."""

    def __init__(self, isa):
        width, flags = objects.X86[isa.name] if objects.is_x86(platform.machine()) else objects.PORTABLE[isa.name]
        names = ["-DFAMILY=traced", f"-DISA={isa.name}", f"-DLANE_BYTES={width}", '-DSOURCE="traced_kernels.h"']
        folders = [f"-I{folder}" for folder in (PLUGIN / "csrc", PLUGIN / objects.INCLUDE, Path(__file__).parent)]
        common = [flag for flag in objects.FLAGS if flag != "-fvisibility=hidden"]
        with tempfile.TemporaryDirectory() as folder:
            target = f"{folder}/traced.so"
            source = str(PLUGIN / "csrc/family.c")
            subprocess.run(
                ["cc", "-shared", "-fPIC", source, "-o", target, *common, *flags, *names, *folders], check=True
            )
            self.loaded = ctypes.CDLL(target)
        where = ctypes.addressof(ctypes.c_char.in_dll(self.loaded, f"mocha_traced_{isa.name}"))
        entries = ffi.cast("const mocha_family *", where).entries
        self.kernels = {text(e.name): e.kernel for e in terminated(entries, lambda e: e.name == ffi.NULL)}

    def kernel(self, isa, name):
        return self.kernels[name]


def call(op, *arrays):
    """One use of an op."""
    specs = [Value(f"x{i}", array.shape, str(array.dtype)) for i, array in enumerate(arrays)]
    outs = [Value("y", *spec) for spec in op.infer(*(value.spec for value in specs))]
    return Call(op, tuple(specs), (*outs, *(specs[i] for i in op.updates)), "benchmark")


def contestants(backend, library, n):
    """The name, the traced step, and the C step of each comparison."""
    rng = np.random.default_rng(0)

    def in_c(name, buffers, sizes, numbers):
        return Compiled(backend, f"{name}_float32", buffers, sizes, numbers, library=library)

    x, y, dy, dx = rng.standard_normal((4, n), dtype=np.float32)
    swish = Swish(1.5)
    kernel = Selector(backend, registries()).choose(call(swish, x))
    yield "Swish forward", kernel.forward([x], [y], [False]), in_c("swish_forward", [x, y], [n], [1.5])
    backward = kernel.backward([dy, x, None], [dx], [False])
    yield "Swish backward", backward, in_c("swish_backward", [dy, x, dx], [n, 0], [1.5])

    w, g, mean = rng.standard_normal((3, n), dtype=np.float32)
    square, rate, iteration = abs(g), np.asarray(1e-4, np.float32), np.asarray(100, np.int64)
    status = np.asarray(0, np.int32)
    operands = [w, g, mean, square, rate, iteration, status]
    adam = AdamUpdate(fault=3)
    kernel = Selector(backend, registries()).choose(call(adam, *operands))
    outs = [operands[i] for i in adam.updates]
    copies = [np.empty(*spec) for spec in kernel.forward_workspace]
    update = kernel.forward(operands, [*outs, *copies], [False] * len(outs))
    yield "Adam", update, in_c("adam", operands, [n, 3], [adam.beta1, adam.beta2, adam.epsilon])


class Repeated:
    """A step many times in one program, which a call runs; it returns the seconds of one time."""

    def __init__(self, step, times):
        self.parts, self.times = [*step.parts] * times, times
        self.steps = step_array(self.parts)

    def __call__(self):
        run = ffi.new("mocha_run *", {"steps": self.steps, "bounds": [0, 0, *[len(self.parts)] * 3]})
        run.iterations = run.minibatches = run.threads = 1
        begin = time.process_time_ns()
        lib.mocha_advance(run)
        return (time.process_time_ns() - begin) / self.times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    backend = NativeBackend(threads=1)
    library = Kernels(backend.isa)
    print(f"| {backend.isa.name} | elements | traced | C | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    for n, times in SIZES:
        for name, *steps in contestants(backend, library, n):
            pair = [Repeated(step, times) for step in steps]
            taken = []
            for round_ in range(rounds + 1):
                order = pair[:: 1 if round_ % 2 else -1]
                one = {id(step): step() for step in order}
                taken.append([one[id(step)] for step in pair])
            traced, c = (median(column) * 1000 / n for column in zip(*taken[1:], strict=True))
            ratio = median(a / b for a, b in taken[1:])
            print(f"| {name} | {n} | {traced:.0f} | {c:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
