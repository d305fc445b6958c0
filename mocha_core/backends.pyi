"""Backends of the first-party plugins; written by tools/make_stubs.py."""

from mocha_cpu.backend import CPUBackend as cpu
from mocha_cuda.backend import CUDABackend as cuda
from mocha_native.backend import NativeBackend as native
