"""`Case`: one convolution with random operands on a backend, and what should come out of it."""

import numpy as np
from mocha_cuda.kernels.convolution import convolution
from mocha_layers_std.convolution import Convolution

from mocha_core.graph.plan import Call
from mocha_core.graph.value import Value

NAN = float("nan")


class Case:
    """A convolution, its operands and its kernel on a backend. Pairs are (horizontal, vertical), as the op has them."""

    def __init__(self, rng, backend, shape, filters, kernel, stride, pad, groups, dtype="float32"):
        self.op = Convolution(kernel, stride, pad, groups)
        shapes = {"x": shape, "w": (filters, shape[1] // groups, *kernel[::-1]), "b": (filters,)}
        self.ins = tuple(Value(name, size, dtype) for name, size in shapes.items())
        (spec,) = self.op.infer(*(value.spec for value in self.ins))
        self.out = Value("y", *spec)
        self.backend = backend
        self.call = Call(self.op, self.ins, (self.out,), "conv")
        self.kernel = convolution(backend, self.call)
        self.x, self.w, self.b = (rng.standard_normal(value.shape).astype(dtype) for value in self.ins)
        self.dy = rng.standard_normal(self.out.shape).astype(dtype)

    def array(self, source):
        array = self.backend.empty(source.shape, str(source.dtype))
        self.backend.copy_from_numpy(array, source)
        return array

    def blank(self, specs, fill=NAN):
        return [self.array(np.full(shape, 0 if "int" in dtype else fill, dtype)) for shape, dtype in specs]

    def run(self, bound):
        with self.backend.running():
            bound()

    def forward(self, bind="forward", *more):
        (y,) = self.blank([self.out.spec])
        workspace = self.blank(self.kernel.forward_workspace)
        ins = [self.array(source) for source in (self.x, self.w, self.b)]
        self.run(getattr(self.kernel, bind)(ins, [y, *workspace], [False], *more))
        return self.backend.to_numpy(y)

    def backward(self, wanted=(True, True, True), add=(False, False, False), begin=NAN):
        outs = [
            self.blank([value.spec], begin if added else NAN)[0] if want else None
            for value, want, added in zip(self.ins, wanted, add)
        ]
        workspace = self.blank(self.kernel.backward_workspace)
        ins = [*(self.array(source) for source in (self.dy, self.x, self.w)), None, None]
        self.run(self.kernel.backward(ins, [*outs, *workspace], list(add)))
        return [None if out is None else self.backend.to_numpy(out) for out in outs]

    def expected(self):
        x, w, b, dy = (array.astype("float64") for array in (self.x, self.w, self.b, self.dy))
        y = self.op.forward(np, x, w, b)
        return y, self.op.backward(np, (dy,), (x, w, None), (None,), (True, True, True))


def check_both_halves(case, tolerance):
    """Plain, with ReLUs of two floors, and the gradients."""
    y, gradients = case.expected()
    close(case.forward(), y, tolerance)
    close(case.forward("rectified", 0.0), np.maximum(y, 0), tolerance)
    close(case.forward("rectified", 0.25), np.maximum(y, 0.25), tolerance)
    for found, expected in zip(case.backward(), gradients, strict=True):
        close(found, expected, tolerance)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
