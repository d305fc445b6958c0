"""The native backend. `matmul` is loaded on first use, so that the registrations do not load the extension."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocha_native.matrix_product import matmul as matmul
else:

    def __getattr__(name: str) -> object:
        if name != "matmul":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mocha_native.matrix_product import matmul

        return matmul
