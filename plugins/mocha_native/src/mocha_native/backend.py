"""`NativeBackend`: kernels in C, and those of mocha-cpu for other ops."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from mocha_cpu.backend import CPUBackend
from mocha_cpu.blas import blas_threads

from mocha_core.api import (
    ITEMSIZE,
    PLAIN,
    Arrangement,
    BoundStep,
    Half,
    Layout,
    Memory,
    Plan,
    Program,
    Selector,
    Step,
    Storage,
    Value,
    checks,
    cpus,
    registries,
)
from mocha_native import isa
from mocha_native.channels_last import ChannelsLast
from mocha_native.compiled import NativeKernel
from mocha_native.layout import Lanes
from mocha_native.program import NativeProgram
from mocha_native.tuning import Tuner


class Choice(threading.local):
    """What kernels of the program are chosen for that a thread compiles.

    Attributes:
        trains: whether it has backward halves.
        wanted: the values whose gradients it computes.
        lanes: whether images are in lanes; None: where inner products are.
    """

    trains = True
    wanted: frozenset[Value] = frozenset()
    lanes: bool | None = None


class NativeBackend(CPUBackend):
    """Runs many iterations in one call from Python. Results do not depend on the number of threads.

    Args:
        threads: how many run a program, at most 8 for each processor that the process may use, and 1024; None: as many
            as OMP_NUM_THREADS says, but no more than there are processors, else one for each physical core. The
            affinity mask and the quotas of control groups count. In a build without OpenMP, it is one. Programs
            run in one thread where several are not faster.
        fuse: replace several steps by one where a registered fusion can; without, results differ in rounding only.
        winograd: compute convolutions by Winograd's algorithms where they are faster; their rounding errors are larger,
            some 1e-6 of the largest value.
        tune: time the kernels of each convolution when a program is compiled, and choose the fastest, in place of an
            estimate. Times are kept in the folder that MOCHA_NATIVE_CACHE names, or ~/.cache/mocha-native: with them,
            later processes choose the same kernels, and so compute the same bytes.

    Raises:
        BackendError: MOCHA_NATIVE_ISA names an instruction set that this processor or this build does not have.
        ConfigurationError: `threads` is not an integer from 1 to 1024.
    """

    name = "native"
    #: For data sets of up to this size, the program gathers minibatches itself, without Python.
    resident_bytes = 64 << 20

    def __init__(
        self, threads: int | None = None, fuse: bool = True, winograd: bool = True, tune: bool = False
    ) -> None:
        super().__init__(threads=1)
        self.threads: int = cpus.default_threads() if threads is None else cpus.checked_threads(threads)
        # Programs that run at the same time share the threads.
        self.programs_at_once = max(4, cpus.processors())
        # Each thread has a vector of images.
        self.images_at_once = max(32, 16 << (self.threads - 1).bit_length())
        self.fuses: bool = checks.instance("System", "fuse", fuse, bool, "False")
        self.winograd: bool = checks.instance("System", "winograd", winograd, bool, "False")
        self.tuner = Tuner(self) if checks.instance("System", "tune", tune, bool, "True") else None
        self.isa = isa.chosen()
        widths = {dtype: self.isa.lane_bytes // ITEMSIZE[dtype] for dtype in ("float32", "float64")}
        #: The layouts of blobs by dtype: one for each, as layouts are compared by identity.
        self.lanes = {dtype: Lanes(width) for dtype, width in widths.items()}
        self.channels_last = {dtype: ChannelsLast(width) for dtype, width in widths.items()}
        self.choice = Choice()

    def compile(self, plan: Plan, storage: Storage) -> Program:
        choice = self.choice
        try:
            backward = [step for step in plan.steps if step.half is Half.BACKWARD]
            choice.trains = bool(backward)
            choice.wanted = frozenset(
                x for step in backward for x, dx in zip(step.call.ins, step.outs) if dx is not None
            )
            choice.lanes = self.cheapest(plan)
            return super().compile(plan, storage)
        finally:
            choice.trains, choice.wanted, choice.lanes = Choice.trains, Choice.wanted, Choice.lanes

    def cheapest(self, plan: Plan) -> bool | None:
        """Whether images shall be in lanes, as the kernels for both estimate or take; None if none of them does."""
        images = [step for step in plan.steps if any(len(x.shape) > 2 and x.transient for x in step.call.ins)]
        costs = []
        for self.choice.lanes in (True, False):
            chosen = Selector(self, registries()).choose_all(images).values()
            # The others compute in any layout.
            kernels = [kernel for kernel in chosen if isinstance(kernel, NativeKernel) and not kernel.layouts.follow]
            estimated = sum(kernel.cost(self.choice.trains) for kernel in kernels)
            costs.append(sum(map(self.tuner.seconds, kernels)) if self.tuner and estimated else estimated)
        return costs[0] <= costs[1] if any(costs) else None

    def faster(self, kernel: NativeKernel, other: NativeKernel, estimated: bool) -> bool:
        """Whether a kernel is faster than the other one that serves its call: by time, or else as is estimated."""
        return self.tuner.seconds(kernel) < self.tuner.seconds(other) if self.tuner else estimated

    def few(self, x: Value) -> bool:
        """Whether too many lanes would be empty, so that kernels are faster with channels in vectors than the batch."""
        images = len(x.shape) > 2 and self.choice.lanes is not None
        return not self.choice.lanes if images else self.row_layout(x) is PLAIN

    def row_layout(self, x: Value) -> Layout:
        """The layout that inner products ask for. Measured: they gain from lanes if more than half of them are full."""
        lanes = self.lanes[x.dtype]
        return lanes if x.shape[0] > max(1, lanes.width // 2) else PLAIN

    def blob_layout(self, x: Value) -> Layout:
        """The layout that kernels ask for: in lanes, if the batch of the blob fills enough of them."""
        return self.lanes[x.dtype] if x.dtype in self.lanes and not self.few(x) else PLAIN

    def small_layout(self, x: Value) -> ChannelsLast | None:
        """The layout that kernels of images ask for if the batch of the blob is small; None if it is not small."""
        return self.channels_last[x.dtype] if x.dtype in self.lanes and self.few(x) and len(x.shape) > 2 else None

    def fuse(self, plan: Plan, selector: Selector) -> list[Step]:
        return super().fuse(plan, selector) if self.fuses else list(plan.steps)

    def running(self) -> AbstractContextManager[Any]:
        """Keeps BLAS, which kernels in Python use, to one thread.

        The pools of BLAS and of OpenMP would compete, and sums in BLAS depend on the number of its threads.
        """
        return blas_threads(1)

    def executor(
        self, plan: Plan, bound: list[BoundStep], arrangement: Arrangement, memory: Memory, storage: Storage
    ) -> Program:
        """One array of steps, run in C."""
        return NativeProgram(self, plan, bound, arrangement, memory, storage)
