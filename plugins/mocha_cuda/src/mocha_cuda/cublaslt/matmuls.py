"""`Matmuls`: the products of one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mocha_cuda.autotune import enabled, fastest
from mocha_cuda.cublaslt.constants import HeuristicResult
from mocha_cuda.cublaslt.library import CublasError, Library, library
from mocha_cuda.cublaslt.matmul import Bound, Epilogue, Matmul, Matrix, Product, alignment, serves_not

if TYPE_CHECKING:
    from mocha_core.api import Array
    from mocha_cuda.device import Device

#: The bytes of the workspace that NVIDIA advises for Hopper. One suffices, because all products run in one stream.
WORKSPACE = 32 << 20
#: The number of algorithms that are measured.
CANDIDATES = 8


class Matmuls:
    """Makes products that run in a device's stream, and can be captured.

    Raises:
        BackendError: there is no cuBLASLt, or it does not work.
    """

    def __init__(self, device: Device, lt: Library | None = None) -> None:
        self._device = device
        with device.running():
            self._handle = (lt or library()).handle()
        self._workspace = device.empty((WORKSPACE,), "uint8")
        self._chosen: dict[Product, HeuristicResult] = {}

    def bind(
        self,
        a: Array,
        b: Array,
        d: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        alpha: float = 1.0,
        beta: float = 0.0,
        epilogue: Epilogue = Epilogue.NONE,
        vector: Array | None = None,
        precision: str = "float32",
        deterministic: bool = False,
        label: str = "",
    ) -> Bound | None:
        """A callable that computes d = alpha op(a) op(b) + beta d with an epilogue, see `Product`.

        Args:
            a, b, d: (m, k), (k, n) and (m, n) before transposes, or batches of these, as `Matrix.of` takes them.
            deterministic: whether each process gives the same bytes each time.
            label: the name of the layer, for errors.

        Returns:
            The callable; None if the library does not serve this epilogue here: ask for the plain product.

        Raises:
            BackendError: the arrays do not fit, or the library does not serve the product.
        """
        address = self._device.address
        of_a, of_b, of_d = (Matrix.of(array, address(array)) for array in (a, b, d))
        at = None if vector is None else address(vector)
        product = Product(of_a, of_b, of_d, transpose_a, transpose_b, alpha, beta, epilogue, at, precision, label)
        try:
            with self._device.running():
                matmul = Matmul(self._handle, product)
                return self._bound(matmul, self._choose(product, matmul, deterministic))
        except CublasError as error:
            if epilogue is not Epilogue.NONE and serves_not(error):
                return None
            raise

    def _bound(self, matmul: Matmul, result: HeuristicResult) -> Bound:
        return matmul.bound(result, self._device.address(self._workspace), WORKSPACE, self._device.stream.ptr)

    def _choose(self, product: Product, matmul: Matmul, deterministic: bool) -> HeuristicResult:
        if deterministic or not enabled():
            # Measurements may choose another algorithm in the next process, which rounds differently.
            return matmul.algorithms(WORKSPACE, deterministic, 1)[0]
        problem = _anywhere(product)
        if problem not in self._chosen:
            self._chosen[problem] = self._fastest(product, matmul.algorithms(WORKSPACE, deterministic, CANDIDATES))
        return self._chosen[problem]

    def _fastest(self, product: Product, results: Sequence[HeuristicResult]) -> HeuristicResult:
        """The fastest, measured on other memory, to keep the operands' contents. The first, if there is no memory."""
        if len(results) == 1:
            return results[0]
        address = self._device.address
        try:
            scratch = [self._device.empty((_bytes(m),), "uint8") for m in (product.a, product.b, product.d)]
            vector = self._device.empty((max(product.d.rows, product.d.columns),), product.d.dtype)
        except MemoryError:
            return results[0]
        a, b, d = (replace(m, address=address(s)) for m, s in zip((product.a, product.b, product.d), scratch))
        at = None if product.vector is None else address(vector)
        matmul = Matmul(self._handle, replace(product, a=a, b=b, d=d, vector=at))
        best = fastest(self._device, results, partial(self._bound, matmul))
        if best is None:
            best = results[0]
            self._bound(matmul, best)()  # its error says why the library does not serve the product
        return best


def _bytes(matrix: Matrix) -> int:
    """The number of bytes from the first byte of a batch of matrices to the last."""
    elements = (matrix.batch - 1) * matrix.batch_stride + (matrix.rows - 1) * matrix.stride + matrix.columns
    return elements * matrix.itemsize


def _anywhere(product: Product) -> Product:
    """Identifies equal problems: addresses matter only by their alignment."""
    a, b, d = (replace(m, address=m.alignment) for m in (product.a, product.b, product.d))
    return replace(product, a=a, b=b, d=d, vector=product.vector and alignment(product.vector))
