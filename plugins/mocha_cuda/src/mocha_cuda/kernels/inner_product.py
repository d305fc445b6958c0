"""Inner product: matrix products of cuBLASLt, with the bias, its gradient and a ReLU in the same launches.

If the library does not serve a product with such an epilogue, the plain product and a kernel here do the same.

Backward of a narrow product, such as a classifier's last one, is a single launch of a kernel of this plugin. It also
masks the ReLU below. Below other products, ReLU's own backward does that. cuBLASLt's epilogue for it needs a mask of
bits that only another of its products writes, and NVIDIA does not document the bit for exactly 0: CUTLASS lets the
gradient pass there and for NaN, where Mocha's ReLU does not. A kernel after the product costs the same launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TYPE_CHECKING, Any

from mocha_core.api import Runnable
from mocha_cuda.compiled import THREADS, WARP, Buffers, CUDAKernel, Series, served
from mocha_cuda.cublaslt.matmul import Epilogue

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The maximum outputs of a narrow product, and the outputs whose weight gradients one block computes; the same as in
#: csrc/kernels/inner_product.cu.
NARROW, CHUNK = 16, 4
#: Other bounds of a narrow product's backward. Within them its kernel takes a few microseconds on any GPU, about as
#: long as the launches that it saves. A warp reads every eighth row, and with this number of rows waits for memory
#: eight times.
NARROW_ROWS = 256
#: A block computes 32 features times CHUNK outputs. With this many features nearly all blocks run at once.
NARROW_FEATURES = 8192
#: rows * features * outputs of each of the two products. All threads together read twice that, mostly from caches.
NARROW_MULTIPLICATIONS = 2**22


class InnerProduct(CUDAKernel):
    """y = x w' + b; dx = dy w, dw = dy' x, and db sums dy's rows. x is (N, ...), w (outputs, features), y (N, outputs).

    cuBLASLt's ReLU makes 0 of NaN, where the op's reference and the own kernels keep it. Training still finds an x that
    is not finite, since dw is NaN then, as 0 times NaN is. A prediction does not show it; with fuse=False it does.

    A narrow product's backward multiplies all of float32, whatever the backend's precision.
    """

    family = "inner_product"
    rectifies = True

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        x, w = call.ins[:2]
        self.rows, self.outputs, self.features = x.shape[0], w.shape[0], prod(x.shape[1:])
        self.narrow = self.masks_bottom = (
            self.outputs <= NARROW
            and self.rows <= NARROW_ROWS
            and self.features <= NARROW_FEATURES
            and self.rows * self.features * self.outputs <= NARROW_MULTIPLICATIONS
        )

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
        if self.narrow:
            return self.bottom_masked(ins, outs, add, None, 0.0)
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

    def bottom_masked(self, ins: Buffers, outs: Buffers, add: Sequence[bool], mask: Any, floor: float) -> Runnable:
        """Of a narrow product; `mask` may be None."""
        gradients, sizes = outs[:3], (self.rows, self.features, self.outputs)
        columns = (0 if gradients[1] is None else self.features) + (gradients[2] is not None)
        elements = 0 if gradients[0] is None else self.rows * self.features
        pieces = -(-columns // WARP) * -(-self.outputs // CHUNK) + -(-elements // THREADS)
        operands = (*ins[:3], mask, *gradients, *sizes, floor, *add[:3])
        return self.bind("narrow_backward", *operands, threads=pieces * THREADS)

    def flat(self, x: Any) -> Any:
        """A view of shape (N, features)."""
        return x.reshape(self.rows, self.features)

    def product(self, a: Any, b: Any, d: Any, **options: Any) -> Any:
        """As `Matmuls.bind`."""
        backend = self.backend
        options |= {"precision": backend.precision, "deterministic": backend.deterministic}
        return backend.matmuls.bind(a, b, d, label=f"Layer '{self.call.layer}'", **options)


inner_product = served(InnerProduct)
