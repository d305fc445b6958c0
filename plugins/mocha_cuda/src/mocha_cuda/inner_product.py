"""Inner product: matrix products of cuBLASLt, with the bias, its gradient and a ReLU in the same launches.

Where the library does not serve a product with such an epilogue, the plain product and an own kernel do the same.

A ReLU below is not masked here. cuBLASLt's epilogue for it wants a mask of bits, which only another product of its own
writes; and an own kernel after the product costs the launch that ReLU's own backward costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING, Any

from mocha_core.kernel import Runnable
from mocha_cuda.compiled import Buffers, CUDAKernel, Series, served
from mocha_cuda.cublaslt.matmul import Epilogue

if TYPE_CHECKING:
    from mocha_core.plan import Call
    from mocha_cuda.backend import CUDABackend

#: Threads of a warp, as csrc/mocha.cuh has it.
WARP = 32


class InnerProduct(CUDAKernel):
    """y = x w' + b; dx = dy w, dw = dy' x, and db sums dy's rows. x is (N, ...), w (outputs, features), y (N, outputs).

    cuBLASLt's ReLU makes 0 of NaN, where the op's reference and the own kernels keep it. Training still finds an x that
    is not finite, since dw is NaN then, as 0 times NaN is. A prediction does not show it; with fuse=False it does.
    """

    family = "inner_product"
    rectifies = True

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.rows, self.outputs, self.features = x.shape[0], w.shape[0], prod(x.shape[1:])

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.rectified(ins, outs, add, -inf)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        (x, w, b), y = ins[:3], outs[0]
        operands = (self.flat(x), w, y)
        if floor in (-inf, 0):
            epilogue = Epilogue.BIAS if floor else Epilogue.RELU_BIAS
            fused = self.product(*operands, transpose_b=True, epilogue=epilogue, vector=b)
            if fused is not None:
                return fused  # type: ignore[no-any-return]
        product = self.product(*operands, transpose_b=True)
        return Series(product, self.bind("add_bias", b, y, y.size, self.outputs, float(floor), threads=y.size))

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, w), (dx, dw, db) = ins[:3], outs[:3]
        runs: list[Runnable] = []
        if dw is not None:
            operands, options = (dy, self.flat(x), dw), {"transpose_a": True, "beta": float(add[1])}
            fused = None
            if db is not None and not add[2]:  # an epilogue cannot add
                fused = self.product(*operands, **options, epilogue=Epilogue.SUMS_OF_A, vector=db)
            runs.append(fused or self.product(*operands, **options))
            db = None if fused else db
        if db is not None:
            blocks = -(-self.outputs // WARP)
            runs.append(self.bind("bias_gradient", dy, db, self.rows, self.outputs, add[2], blocks=blocks))
        if dx is not None:
            runs.append(self.product(dy, w, self.flat(dx), beta=float(add[0])))
        return Series(*runs) if len(runs) > 1 else runs[0]

    def flat(self, x: Any) -> Any:
        """(N, features), in the same memory."""
        return x.reshape(self.rows, self.features)

    def product(self, a: Any, b: Any, d: Any, **options: Any) -> Any:
        """As `Matmuls.bind`."""
        backend = self.backend
        options |= {"precision": backend.precision, "deterministic": backend.deterministic}
        return backend.device.matmuls.bind(a, b, d, label=f"Layer '{self.call.layer}'", **options)


inner_product = served(InnerProduct)
