"""An inner product and the rectifier after it as one step, so that what lies between them needs no memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mocha_core.api import Backend, Call, Graph, Half, Kernel, Op, Rewritten, Runnable, Spec, Step, forward_step


class InnerProductReLU(Op):
    """y = max(epsilon, W x + b)."""

    name = "acme.inner_product_relu"
    epsilon: float

    def infer(self, x: Spec, w: Spec, b: Spec) -> tuple[Spec, ...]:
        return (Spec((x.shape[0], *b.shape), x.dtype),)


def rewrite(graph: Graph, relu: Step) -> Rewritten | None:
    product = graph.maker(relu.ins[0])
    if product is None or product.key != ("inner_product", Half.FORWARD) or product.outs != relu.ins:
        return None
    op: Any = relu.call.op
    fused = Call(InnerProductReLU(op.epsilon), product.call.ins, relu.call.outs, product.call.layer)
    return [product, relu], forward_step(fused)


class FusedKernel(Kernel):
    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def forward(self, ins: Sequence[Any], outs: Sequence[Any], add: Sequence[bool]) -> Runnable:
        (x, w, b), (y,) = ins, outs
        x, w = x.reshape(len(x), -1), w.T

        def run() -> None:
            np.matmul(x, w, out=y)
            np.add(y, b, out=y)
            np.maximum(y, self.epsilon, out=y)

        return run


def build(backend: Backend, call: Call) -> Kernel:
    op: Any = call.op
    return FusedKernel(op.epsilon)
