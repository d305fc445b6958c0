"""`pytest -p gpu_backend` registers `cuda-strict`, whose float32 is as exact as the conformance kit wants it."""

import pytest
from mocha_cuda.backend import CUDABackend

from mocha_core.plugins import registries

UNAVAILABLE = "mocha_cuda.requirements:unavailable"


class StrictCUDABackend(CUDABackend):
    """`System("cuda", precision="float32")`."""

    name = "cuda-strict"

    def __init__(self, **options):
        super().__init__(**{"precision": "float32", **options})


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    registries().backends.add(
        StrictCUDABackend.name, f"{__name__}:StrictCUDABackend", priority=-1, available=UNAVAILABLE
    )
