"""`SwishLayer` and its op. Knows of no backend."""

from mocha_core.api import Array, Arrays, Builder, ComputationLayer, Namespace, Op, ShapeError, Spec, Value, checks


class Swish(Op):
    """y = x s, where s = 1 / (1 + exp(-beta x)); dx = dy (s + beta x s (1 - s))."""

    name = "acme.swish"
    backward_reads = ("x0",)
    beta: float

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        if x.dtype not in ("float32", "float64"):
            raise ShapeError(f"expected a blob of floating-point numbers, received {x}.")
        return (x,)

    def forward(self, xp: Namespace, x: Array) -> Array:
        return x * sigmoid(xp, self.beta * x)

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: object) -> tuple[Array]:
        s = sigmoid(xp, self.beta * x[0])
        return (dy[0] * (s + self.beta * x[0] * s * (1.0 - s)),)


def sigmoid(xp: Namespace, x: Array) -> Array:
    return 0.5 + 0.5 * xp.tanh(0.5 * x)  # exp would overflow


class SwishLayer(ComputationLayer):
    """Bottoms: one of floating-point numbers, of any shape. Tops: one of the same shape."""

    beta: float = 1.0

    def check(self) -> None:
        super().check()
        self.replace_field("beta", checks.number(self, "beta", self.beta))

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        return b.call(Swish(self.beta), x)
