"""Mocha's CUDA backend on the host, as a backend of its own; `pytest -p host_backend` registers it."""

from functools import cached_property

import pytest
from host_convolutions import HostConvolutions
from host_device import HostDevice
from host_matmuls import HostMatmuls
from mocha_cuda.backend import CUDABackend

from mocha_core.plugin.manager import registries


class HostBackend(CUDABackend):
    """Everything but CUDA's driver, cuDNN and cuBLASLt."""

    name = "cuda-on-host"

    def __init__(self, **options):
        super().__init__(**{"precision": "float32", **options})

    def open(self, number):
        return HostDevice()

    @cached_property
    def matmuls(self):
        return HostMatmuls(self.device)

    @cached_property
    def convolutions(self):
        return HostConvolutions(self.device)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    registries().backends.add(HostBackend.name, f"{__name__}:HostBackend", priority=-1)
