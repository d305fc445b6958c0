"""Kernels run on the host, against the reference of their op in float64."""

from host_backend import HostBackend
from mocha_cuda.compiled import CUDAKernel

from mocha_core.compile.selection import Selector
from mocha_core.plugin.manager import registries
from mocha_core.testing import OpCase
from mocha_core.testing.kernel_checks import Bench, check_deterministic, check_kernel
from mocha_core.testing.tolerances import TOLERANCES

DTYPES = ["float32", "float64"]


def bench(case, dtype):
    """Buffers, and the kernel that a program of this dtype would choose."""
    backend = HostBackend()
    kernel = Selector(backend, registries()).choose(case.call(dtype))
    assert isinstance(kernel, CUDAKernel), f"{kernel.label} serves '{case.op.name}'"
    return Bench(case, backend, kernel, dtype)


def check(op, inputs, dtype, double=()):
    """Both halves, with gradients written and added, all and each alone; twice the same bits."""
    case = OpCase(op, inputs, double)
    made = bench(case, dtype)
    check_kernel(case, made.backend, made.kernel, dtype, TOLERANCES[dtype])
    check_deterministic(case, made.backend, made.kernel, dtype)


def forward(op, inputs, dtype="float64", double=()):
    """The results of the forward half alone."""
    return bench(OpCase(op, inputs, double), dtype).forward()
