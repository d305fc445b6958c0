"""What else than `traced_ops` generated kernels compute, and uses of ops."""

from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.value import Value


class Functions(Op):
    """Functions, comparisons, and one row for all."""

    name = "acme.functions"
    differentiable = ()

    def infer(self, x, row):
        return (x,)

    def forward(self, xp, x, row):
        few = xp.where((x > row) & ~xp.isnan(x), xp.minimum(x, 0.5), xp.maximum(x, -0.5))
        least = xp.min(x, axis=-1, keepdims=True)
        return xp.floor(few) + xp.sign(x) * xp.sqrt(xp.abs(row)) + xp.pow(xp.abs(x), 1.5) - least + 2 * xp.tanh(x)


def call_of(op, dtype, shape=(3, 300)):
    """A use of an op."""
    dtypes = [dtype] * 5 + ["int64", "int32"] if op.updates else [dtype]
    shapes = [shape] * 4 + [()] * 3 if op.updates else [shape]
    plan = Plan(Phase.TRAIN, batch=1)
    plan.call(op, *(Value(f"x{i}", s, d) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))))
    return plan.steps[0].call
