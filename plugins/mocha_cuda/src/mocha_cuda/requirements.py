"""What this plugin needs of the machine."""

from __future__ import annotations


def unavailable() -> str:
    """Why the backend cannot be used here; empty if it can."""
    try:
        import cupy
    except ImportError as error:
        return (
            f"CuPy cannot be imported ({error}). Install it with the extra for your driver: pip install "
            "'mocha-cuda[cuda13]' (driver 580 or newer), or 'mocha-cuda[cuda12]'"
        )
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return (
            f"CUDA finds no driver or device ({error}). Install NVIDIA's driver, and see whether nvidia-smi lists one"
        )
    return "" if count else "CUDA finds no device. See whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES says"
