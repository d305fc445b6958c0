"""Ops as others write them, without kernels of their own: their references are traced."""

from mocha_core.graph.op import Op
from mocha_core.train.update import UpdateOp


class Swish(Op):
    """y = x s, where s = 1 / (1 + exp(-beta x)); dx = dy (s + beta x s (1 - s))."""

    name = "acme.swish"
    backward_reads = ("x0",)
    beta: float = 1.5

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return x / (1 + xp.exp(-self.beta * x))

    def backward(self, xp, dy, x, y, wanted):
        s = 1 / (1 + xp.exp(-self.beta * x[0]))
        return (dy[0] * (s + self.beta * x[0] * s * (1.0 - s)),)


class Softmax(Op):
    """y = exp(x) / sum(exp(x)), over the last axis; dx = y (dy - sum(dy y))."""

    name = "acme.softmax"
    backward_reads = ("y0",)

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def backward(self, xp, dy, x, y, wanted):
        return (y[0] * (dy[0] - xp.sum(dy[0] * y[0], axis=-1, keepdims=True)),)


class AdamUpdate(UpdateOp):
    """D. P. Kingma and J. Ba, "Adam", 2015."""

    name = "acme.adam"
    slots = ("mean", "square")
    cells = ("learning_rate", "iteration")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def rule(self, xp, w, g, mean, square, learning_rate, iteration):
        t = xp.astype(iteration + 1, w.dtype)
        mean = self.beta1 * mean + (1 - self.beta1) * g
        square = self.beta2 * square + (1 - self.beta2) * g * g
        root = xp.sqrt(square / (1 - self.beta2**t))
        return learning_rate * (mean / (1 - self.beta1**t)) / (root + self.epsilon), mean, square
