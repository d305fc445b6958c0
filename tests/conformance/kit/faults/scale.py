"""A sound op, layer and kernel, and others that have one fault each."""

import numpy as np

from mocha_core.compile.kernel import Kernel
from mocha_core.compile.layout import Layout, Layouts
from mocha_core.describe.layer import TrainableLayer
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing.inputs import distinct
from mocha_core.testing.surrounding_layers import Drawn


class Scale(Op):
    """y = x * w, w (features,)."""

    name = "kit.scale"
    backward_reads = ("x",)

    def infer(self, x, w):
        if x.shape[1:] != w.shape:
            raise ShapeError(f"expected rows of shape {w.shape}, received {x}.")
        return (x,)

    def forward(self, xp, x, w):
        return x * w

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0)


class ScaleLayer(TrainableLayer):
    def check(self):
        super().check()
        if not self.bottoms:
            raise ConfigurationError(f"{self}: expected one or more bottoms, received none.")

    def build(self, b, *bottoms):
        w = b.param("scale", bottoms[0].shape[1:], Drawn(3))
        return tuple(b.call(self.op(), bottom, w)[0] for bottom in bottoms)

    def op(self):
        return Scale()


def scale_layer(op):
    class Faulty(ScaleLayer):
        def op(self):
            return op()

    return Faulty(bottoms=["x"], tops=["y"])


class WrongGradient(Scale):
    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0) * 1.00001


class NoGradient(Scale):
    differentiable = (1,)


class Broadcasting(Scale):
    def forward(self, xp, x, w):
        return xp.sum(x, axis=1, keepdims=True)


class OtherDtype(Scale):
    def forward(self, xp, x, w):
        return xp.astype(x * w, xp.float64)


class MixingRows(Scale):
    def forward(self, xp, x, w):
        return (x - xp.mean(x, axis=0)) * w

    def backward(self, xp, dy, x, y, wanted):
        return (dy[0] - xp.mean(dy[0], axis=0)) * x[1], xp.sum(dy[0] * (x[0] - xp.mean(x[0], axis=0)), axis=0)


class Passing(Scale):
    passes_gradient = (0,)


class Undeclared(Scale):
    backward_reads = ("x1",)


class Impure(Scale):
    def forward(self, xp, x, w):
        x *= w
        return x


class ImpureBackward(Scale):
    def backward(self, xp, dy, x, y, wanted):
        dy[0][...] = dy[0] * x[1]
        return dy[0], xp.sum(dy[0] * x[0], axis=0)


class NumPyism(Scale):
    def forward(self, xp, x, w):
        return np.multiply(x, w) if xp is np else xp.multiply(x, w)


class OtherShape(Scale):
    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0, keepdims=True)


class Together(Scale):
    def backward(self, xp, dy, x, y, wanted):
        both = wanted[0] and wanted[1]
        return dy[0] * x[1], xp.sum(dy[0] * x[0], axis=0) * (1.0 if both else 2.0)


class Counting(Scale):
    count = 0

    def forward(self, xp, x, w):
        Counting.count += 1
        return x * w + Counting.count


INPUTS = [distinct((4, 3)), distinct((3,), 1)]


class ScaleKernel(Kernel):
    """Right, but for its `fault`."""

    def __init__(self, fault=""):
        self.fault = fault

    def forward(self, ins, outs, add):
        (x, w), (y,), fault = ins, outs, self.fault

        def run():
            if fault == "forward":
                np.multiply(x[1:], w, out=y[1:])
                return
            np.multiply(x, w, out=y)
            if fault == "writes":
                x[...] = 0

        return run

    def backward(self, ins, outs, add):
        (dy, x, w), fault = ins[:3], self.fault

        def run():
            for out, adds, value in zip(outs, add, (dy * w, (dy * x).sum(axis=0))):
                if out is None and fault != "wanted":
                    continue
                if (adds and fault != "adds") or fault == "overwrites":
                    out += value
                else:
                    out[...] = value

        return run


class FeaturesFirst(Layout):
    """(features, rows), with rows padded to a multiple of 3."""

    name = "features first"

    def physical(self, spec):
        rows, features = spec.shape
        return Spec((features, -(-rows // 3) * 3), spec.dtype)

    def pack(self, backend, plain, packed, *, gradient, add):
        rows = len(plain)
        packed[:, :rows] = plain.T
        packed[:, rows:] = 0 if gradient else plain[-1:].T

    def unpack(self, backend, packed, plain, *, add):
        plain[...] = packed[:, : len(plain)].T


FEATURES_FIRST = FeaturesFirst()


class PackedScaleKernel(Kernel):
    """Relies on gradients of padding rows being zero."""

    layouts = Layouts(ins=(FEATURES_FIRST,), outs=(FEATURES_FIRST,))
    forward_workspace = (Spec((3, 6), "float64"),)

    def forward(self, ins, outs, add):
        (x, w), (y, scratch) = ins, outs

        def run():
            np.multiply(x, w[:, np.newaxis], out=scratch)
            y[...] = scratch

        return run

    def backward(self, ins, outs, add):
        dy, x, w = ins[:3]

        def run():
            for out, adds, value in zip(outs, add, (dy * w[:, np.newaxis], (dy * x).sum(axis=1))):
                if out is not None:
                    out[...] = out + value if adds else value

        return run
