"""Mocha's compiled CPU backend. `mocha_native.api` is its face for authors of kernels.

`matmul` is loaded on first use, so that the registrations do not load the extension.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocha_native.matrix_product import matmul as matmul
else:

    def __getattr__(name: str) -> object:
        if name != "matmul":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mocha_native.matrix_product import matmul

        return matmul


def get_include() -> str:
    """The folder with `mocha/library.h`, for the include path of an extension with kernels."""
    return str(Path(__file__).parent / "include")
