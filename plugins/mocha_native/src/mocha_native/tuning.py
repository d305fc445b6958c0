"""Times kernels for `System("native", tune=True)`, and keeps the times for later processes."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.api import PLAIN, Call, Convert, Layout, Runnable, Spec, caches
from mocha_native.compiled import Array, NativeKernel
from mocha_native.layout import CompiledLayout, Conversion

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend

#: The environment variable that names the folder for times.
VARIABLE = "MOCHA_NATIVE_CACHE"
#: The least number of runs of a half, and the seconds that all of them take at least. The fastest counts.
RUNS, SECONDS = 5, 0.02


class Tuner:
    """Knows what kernels take that have been timed for the same op, shapes, wanted gradients, processor and threads."""

    def __init__(self, backend: NativeBackend) -> None:
        self.backend = backend
        self.times: dict[str, float] = {}

    def seconds(self, kernel: NativeKernel) -> float:
        """Of forward, and of backward and packed parameters if the program trains. A time that is kept counts."""
        call, backend, made = kernel.call, self.backend, type(kernel)
        wanted = [x in backend.choice.wanted for x in call.ins]
        specs = [value.spec for value in (*call.ins, *call.outs)]
        where = (machine(), backend.isa.name, backend.threads)
        key = f"{made.__name__}-{digest((where, made.__module__, kernel.layouts, call.op, specs, wanted))}"
        if key not in self.times:
            file = caches.cache_folder("mocha-native", VARIABLE) / key
            with suppress(OSError, ValueError):
                if isfinite(kept := float(file.read_text("ascii"))) and kept > 0:
                    self.times[key] = kept
        if key not in self.times:
            self.times[key] = sum(map(least_seconds, bound(kernel, wanted)))
            caches.keep(file, str(self.times[key]).encode())
        return self.times[key]


def bound(kernel: NativeKernel, wanted: Sequence[bool]) -> list[Runnable]:
    """The halves of a kernel, bound to random numbers, and the packing of its parameters if it has a backward half."""
    call, layouts, rng = kernel.call, kernel.layouts, np.random.default_rng(0)

    def array(spec: Spec, layout: Layout = PLAIN) -> Array:
        made: Array = kernel.backend.empty(*layout.physical(spec))
        made[...] = rng.standard_normal(made.shape)
        return made

    def arrays(specs: Sequence[Spec]) -> list[Array]:
        return [array(spec) for spec in specs]

    ins = [array(x.spec, layouts.of_in(i)) for i, x in enumerate(call.ins)]
    outs = [array(y.spec, layouts.of_out(i)) for i, y in enumerate(call.outs)]
    saves = arrays(kernel.saves)
    runs = [kernel.forward(ins, [*outs, *saves, *arrays(kernel.forward_workspace)], [False] * len(outs))]
    if not any(wanted):
        return runs
    tops = [array(y.spec, layouts.of_out(i)) for i, y in enumerate(call.outs)]
    ins = [array(x.spec, layouts.of_in(i, backward=True)) for i, x in enumerate(call.ins)]
    gradients = [array(x.spec, layouts.of_gradient(i)) if wanted[i] else None for i, x in enumerate(call.ins)]
    workspace = arrays(kernel.backward_workspace)
    runs.append(kernel.backward([*tops, *ins, *outs, *saves], [*gradients, *workspace], [False] * len(ins)))
    # Parameters, which are all inputs but the first, change in each iteration.
    for i, x in enumerate(call.ins[1:], start=1):
        for layout in {layouts.of_in(i), layouts.of_in(i, backward=True)}:
            if isinstance(layout, CompiledLayout):
                conversion = Conversion(kernel.backend, Call(Convert(PLAIN, layout, False), (x,), (x,)))
                runs.append(conversion.forward([array(x.spec)], [array(x.spec, layout)], [False]))
    return runs


def least_seconds(run: Runnable) -> float:
    """Of a run, after one that does not count."""
    run()
    least, runs, until = inf, 0, time.perf_counter() + SECONDS
    while runs < RUNS or time.perf_counter() < until:
        start = time.perf_counter()
        run()
        least, runs = min(least, time.perf_counter() - start), runs + 1
    return least


def digest(key: object) -> str:
    """A name for what has this `repr`."""
    return hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()


@cache
def machine() -> tuple[str, str]:
    """The version of mocha-native, and the name of the processor: a home folder may serve many machines."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
    return version("mocha-native"), name
