"""A sound layer with running statistics, as batch normalization has them, and others that have one fault each."""

from mocha_core.describe.layer import ComputationLayer, TrainableLayer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Phase
from mocha_core.graph.value import Spec
from mocha_core.testing.surrounding_layers import Drawn


def check(x, mean):
    if not x.shape or x.shape[1:] != mean.shape:
        raise ShapeError(f"expected rows of shape {mean.shape}, received {x}.")


class Normalize(Op):
    """y = x - the mean of the rows that count, in those; the running mean follows by a tenth. Saved: the rows."""

    name = "kit.normalize"
    backward_reads = ("x1", "y1")
    differentiable = (0,)
    updates = (2, 3)
    saved = 1

    def infer(self, x, valid_rows, mean, count):
        check(x, mean)
        return x, Spec((x.shape[0], *(1 for _ in x.shape[1:])), x.dtype)

    def forward(self, xp, x, valid_rows, mean, count):
        rows = self.rows(xp, x, valid_rows)
        found = xp.sum(x * rows, axis=0) / xp.astype(valid_rows, x.dtype)
        return (x - found) * rows, rows, self.followed(mean, found), count + 1

    def backward(self, xp, dy, x, y, wanted):
        d, rows = dy[0] * y[1], y[1]
        return (d - rows * xp.sum(d, axis=0) / xp.astype(x[1], d.dtype), None, None, None)

    def rows(self, xp, x, valid_rows):
        counts = xp.arange(x.shape[0], dtype=xp.int32) < valid_rows
        return xp.astype(xp.reshape(counts, (x.shape[0],) + (1,) * (len(x.shape) - 1)), x.dtype)

    def followed(self, mean, found):
        return 0.9 * mean + 0.1 * found


class ByRunning(Op):
    """y = x - the running mean."""

    name = "kit.normalize_by_running"
    differentiable = (0,)

    def infer(self, x, mean):
        check(x, mean)
        return (x,)

    def forward(self, xp, x, mean):
        return x - mean


def rows_of(x):
    if not x.shape:
        raise ShapeError(f"expected a bottom with rows, received {x.spec}.")
    return x.shape[1:]


class NormalizeLayer(ComputationLayer):
    def build(self, b, x):
        mean = b.state("mean", rows_of(x), Drawn(6))
        count = b.state("count", (), Drawn(None), dtype="int64")
        if b.phase is Phase.TEST:
            return b.call(ByRunning(), x, mean)
        return b.call(self.op(), x, b.valid_rows(x), mean, count)

    def op(self):
        return Normalize()


class NeverMoves(Normalize):
    def followed(self, mean, found):
        return mean + 0


class CountsTwice(Normalize):
    def forward(self, xp, x, valid_rows, mean, count):
        return *super().forward(xp, x, valid_rows, mean, count)[:3], count + 2


class FollowsAllRows(Normalize):
    def forward(self, xp, x, valid_rows, mean, count):
        y, rows, _, count = super().forward(xp, x, valid_rows, mean, count)
        return y, rows, self.followed(mean, xp.mean(x, axis=0)), count


class GradientOfAllRows(Normalize):
    def backward(self, xp, dy, x, y, wanted):
        d = dy[0]
        return (d - xp.sum(d, axis=0) / xp.astype(x[1], d.dtype), None, None, None)


def normalize_layer(op=Normalize):
    class Faulty(NormalizeLayer):
        def op(self):
            return op()

    return Faulty(bottoms=["x"], tops=["y"])


class Carry(Op):
    """y = x + carried, which is carried on."""

    name = "kit.carry"
    backward_reads = ()
    differentiable = (0,)
    updates = (1,)

    def infer(self, x, carried):
        if not x.shape or carried.shape != x.shape:
            raise ShapeError(f"expected as many rows as those of {carried}, received {x}.")
        return (x,)

    def forward(self, xp, x, carried):
        return x + carried, x + carried

    def backward(self, xp, dy, x, y, wanted):
        return dy[0], None


class MixesCarried(Carry):
    def forward(self, xp, x, carried):
        y = x + carried
        return y, y + xp.mean(y, axis=0)


class CarryLayer(TrainableLayer):
    mixes: bool = False

    def build(self, b, x):
        op = MixesCarried() if self.mixes else Carry()
        return b.call(op, x, b.state("carried", rows_of(x), Drawn(7), per_row=True))
