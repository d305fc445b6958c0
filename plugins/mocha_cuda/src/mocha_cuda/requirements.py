"""What this plugin needs of the machine."""

from __future__ import annotations

from mocha_core.errors import BackendError
from mocha_cuda import libraries

#: Libraries of CUDA that it calls itself, and their major versions that will do, the best first.
LIBRARIES = {"nvrtc": (13, 12), "cublasLt": (13, 12), "cudnn": (9,)}
#: Of CuPy, the oldest major version.
OLDEST_CUPY = 14


def unavailable() -> str:
    """Why the backend cannot be used here; empty if it can. Loads none of `LIBRARIES` whose file is found."""
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
            f"CUDA finds no driver or device ({error}). Install NVIDIA's driver, and see whether nvidia-smi lists one"
        )
    if not count:
        return "CUDA finds no device. See whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES says"
    try:
        for name, majors in LIBRARIES.items():
            libraries.check(name, majors)
    except BackendError as error:
        return str(error).removesuffix(".")
    return ""
