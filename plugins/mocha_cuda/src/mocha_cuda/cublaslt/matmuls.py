"""`Matmuls`: the products of one device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mocha_cuda.cublaslt.constants import HeuristicResult
from mocha_cuda.cublaslt.library import CublasError, Library, library
from mocha_cuda.cublaslt.matmul import Bound, Epilogue, Matmul, Matrix, Product, alignment, serves_not

if TYPE_CHECKING:
    from mocha_core.array_api import Array
    from mocha_cuda.device import Device

#: What NVIDIA advises for Hopper. Allocated once: everything runs in one stream.
WORKSPACE = 32 << 20
#: How many algorithms are timed.
CANDIDATES = 8

#: Times what it is given, and says which was the fastest: the number of one that did not fail.
Fastest = Callable[[Sequence[Callable[[], None]]], int]


class Matmuls:
    """Makes products that run in a device's stream, and can be captured.

    Args:
        device: its stream, and arrays on it.
        fastest: chooses among algorithms. None: the first is taken, as the library thinks it is the fastest.
    """

    def __init__(self, device: Device, fastest: Fastest | None = None, lt: Library | None = None) -> None:
        self._device = device
        self._fastest = fastest if os.environ.get("MOCHA_CUDA_AUTOTUNE") != "0" else None
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
    ) -> Bound | None:
        """d = alpha op(a) op(b) + beta d, with an epilogue, as `Product` has it: something to be called.

        Args:
            a, b, d: (m, k), (k, n) and (m, n) before transposes, or batches of these, as `Matrix.of` takes them.
            deterministic: the same bytes each time, in each process.

        Returns:
            None: the library does not serve this epilogue here; ask without.

        Raises:
            BackendError: the arrays do not fit, or the library does not serve the product.
        """
        matrices = (Matrix.of(array, _address(array)) for array in (a, b, d))
        at = None if vector is None else _address(vector)
        product = Product(*matrices, transpose_a, transpose_b, alpha, beta, epilogue, at, precision)
        try:
            matmul = Matmul(self._handle, product)
            return self._bound(matmul, self._choose(product, matmul, deterministic))
        except CublasError as error:
            if epilogue is not Epilogue.NONE and serves_not(error):
                return None
            raise

    def _bound(self, matmul: Matmul, result: HeuristicResult) -> Bound:
        return matmul.bound(result, _address(self._workspace), WORKSPACE, self._device.stream.ptr)

    def _choose(self, product: Product, matmul: Matmul, deterministic: bool) -> HeuristicResult:
        # What was fastest differs from run to run, and with it how results are rounded.
        if self._fastest is None or deterministic:
            return matmul.algorithms(WORKSPACE, deterministic, 1)[0]
        problem = _anywhere(product)
        if problem not in self._chosen:
            self._chosen[problem] = self._timed(product, matmul.algorithms(WORKSPACE, deterministic, CANDIDATES))
        return self._chosen[problem]

    def _timed(self, product: Product, results: Sequence[HeuristicResult]) -> HeuristicResult:
        """The fastest, on other memory: what is in the operands' may be needed. Without such memory, the first."""
        assert self._fastest is not None
        if len(results) == 1:
            return results[0]
        try:
            scratch = [self._device.empty((_bytes(m),), "uint8") for m in (product.a, product.b, product.d)]
            length = max(product.d.rows, product.d.columns)
            vector = self._device.empty((length,), product.d.dtype)
        except MemoryError:
            return results[0]
        a, b, d = (replace(m, address=_address(s)) for m, s in zip((product.a, product.b, product.d), scratch))
        at = None if product.vector is None else _address(vector)
        matmul = Matmul(self._handle, replace(product, a=a, b=b, d=d, vector=at))
        with self._device.running():
            return results[self._fastest([self._bound(matmul, result) for result in results])]


def _address(array: Any) -> int:
    return int(array.data.ptr)


def _bytes(matrix: Matrix) -> int:
    """From a matrix's first byte to the last of a batch of them."""
    elements = (matrix.batch - 1) * matrix.batch_stride + (matrix.rows - 1) * matrix.stride + matrix.columns
    return elements * matrix.itemsize


def _anywhere(product: Product) -> Product:
    """The same problem: addresses matter only by their alignment."""
    a, b, d = (replace(m, address=m.alignment) for m in (product.a, product.b, product.d))
    return replace(product, a=a, b=b, d=d, vector=product.vector and alignment(product.vector))
