"""An inner product and the rectifier after it as one step, so that what lies between them needs no memory."""

import numpy as np

from mocha_core.kernel import Kernel
from mocha_core.op import Op
from mocha_core.plan import Call, Half, forward_step
from mocha_core.value import Spec


class InnerProductReLU(Op):
    """y = max(epsilon, W x + b)."""

    name = "acme_inner_product_relu"
    epsilon: float

    def infer(self, x, w, b):
        return (Spec((x.shape[0], *b.shape), x.dtype),)


def rewrite(graph, relu):
    product = graph.maker(relu.ins[0])
    if product is None or product.key != ("inner_product", Half.FORWARD) or product.outs != relu.ins:
        return None
    op = InnerProductReLU(relu.call.op.epsilon)
    return [product, relu], forward_step(Call(op, product.call.ins, relu.call.outs, product.call.layer))


class FusedKernel(Kernel):
    def __init__(self, call):
        self.epsilon = call.op.epsilon

    def forward(self, ins, outs, add):
        (x, w, b), (y,) = ins, outs
        x, w = x.reshape(len(x), -1), w.T

        def run():
            np.matmul(x, w, out=y)
            np.add(y, b, out=y)
            np.maximum(y, self.epsilon, out=y)

        return run


def build(backend, call):
    return FusedKernel(call)
