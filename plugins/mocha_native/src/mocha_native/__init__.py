"""Mocha's compiled CPU backend. `mocha_native.api` is its face for authors of kernels."""

from pathlib import Path


def get_include() -> str:
    """The folder with `mocha/library.h`, for the include path of an extension with kernels."""
    return str(Path(__file__).parent / "include")
