"""Checks whether the machine has all that this plugin needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mocha_core.api import BackendError
from mocha_cuda import libraries
from mocha_cuda.cudnn.library import opened

#: The CUDA libraries that this plugin calls, and the functions that raise an error if one is missing or too old.
LIBRARIES: dict[str, Callable[[], object]] = {
    "nvrtc": partial(libraries.check, "nvrtc", (13, 12)),
    "cublasLt": partial(libraries.check, "cublasLt", (13, 12)),
    "cudnn": opened,
}
#: The oldest supported major version of CuPy.
OLDEST_CUPY = 14


def unavailable() -> str:
    """The reason why the backend cannot run here; empty if it can. Does not load large libraries."""
    try:
        import cupy
    except ImportError as error:
        return (
            f"CuPy cannot be imported ({error}). Install it with the extra for your driver: pip install "
            "'mocha-cuda[cuda13]' (driver 580 or newer), or 'mocha-cuda[cuda12]'"
        )
    if int(cupy.__version__.partition(".")[0]) < OLDEST_CUPY:
        return (
            f"CuPy {cupy.__version__} was found, expected {OLDEST_CUPY} or newer. Install it with the extra for your "
            "driver: pip install --upgrade 'mocha-cuda[cuda13]' (driver 580 or newer), or 'mocha-cuda[cuda12]'"
        )
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return (
            f"CUDA finds no driver or device ({error}). Install NVIDIA's driver, or a newer one, and see "
            "whether nvidia-smi lists a device"
        )
    if not count:
        return "CUDA finds no device. See whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES says"
    try:
        for check in LIBRARIES.values():
            check()
    except BackendError as error:
        return str(error).removesuffix(".")
    return ""
