"""`HostMatmuls`: what mocha_cuda's `Matmuls` offers, in NumPy, on a `HostDevice`."""

import numpy as np
from mocha_cuda.cublaslt.matmul import Epilogue


class HostMatmuls:
    """Attributes: `refused`, the epilogues that it does not serve, as cuBLASLt may not."""

    def __init__(self, device, refused=()):
        self._device = device
        self.refused = set(refused)

    def bind(
        self,
        a,
        b,
        d,
        *,
        transpose_a=False,
        transpose_b=False,
        alpha=1.0,
        beta=0.0,
        epilogue=Epilogue.NONE,
        vector=None,
        precision="float32",
        deterministic=False,
        label="",
    ):
        if epilogue in self.refused:
            return None
        assert (vector is not None) == (epilogue is not Epilogue.NONE)
        a = a.swapaxes(-1, -2) if transpose_a else a
        b = b.swapaxes(-1, -2) if transpose_b else b

        def run():
            product = alpha * (a @ b)
            if beta:
                product += beta * d
            if epilogue in (Epilogue.BIAS, Epilogue.RELU_BIAS):
                product += vector
            if epilogue is Epilogue.RELU_BIAS:
                product = np.maximum(product, 0)
            if epilogue is Epilogue.SUMS_OF_A:
                vector[...] = a.sum(-1)
            d[...] = product

        return lambda: self._device.submit(run)
