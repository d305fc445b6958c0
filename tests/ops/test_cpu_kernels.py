"""Every kernel of `mocha_cpu` against the reference of its op.

Kernels are driven as a program drives them: bound once to poisoned buffers, with their saves and workspaces,
then run twice, so that nothing may depend on what a buffer held before.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from mocha_cpu import _plugin
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.convolution import Convolution
from mocha_layers_std.dropout import Dropout
from mocha_layers_std.element_wise import Add, Divide, Multiply, Subtract
from mocha_layers_std.inner_product import InnerProduct
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel
from mocha_layers_std.neurons.exponential import ExponentialOp
from mocha_layers_std.neurons.lrelu import LReLUOp
from mocha_layers_std.neurons.relu import ReLUOp
from mocha_layers_std.neurons.sigmoid import SigmoidOp
from mocha_layers_std.neurons.tanh import TanhOp
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_layers_std.power import Power
from mocha_layers_std.softmax import Softmax
from mocha_layers_std.softmax_loss import SoftmaxLoss

from mocha_core.compile.kernel import Reference
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec, Value
from mocha_core.plugin.registry import import_string

RANDOM = np.random.default_rng(20141119)
NUMPY = SimpleNamespace(xp=np)


def normal(*shape):
    return RANDOM.normal(size=shape)


def ties(*shape):
    """Few distinct numbers, so that windows have several maxima."""
    return RANDOM.integers(-2, 3, shape).astype(float)


def positive(*shape):
    return RANDOM.uniform(0.3, 2, shape)


def labels(high, *shape):
    return RANDOM.integers(0, high, shape).astype(np.int32)


def cell(value, dtype=np.int64):
    return np.array(value, dtype)


def convolution(n, channels, size, filters, kernel, stride=(1, 1), pad=(0, 0), groups=1):
    (kw, kh), (width, height) = kernel, size
    return (
        Convolution(kernel, stride, pad, groups),
        normal(n, channels, height, width),
        normal(filters, channels // groups, kh, kw),
        normal(filters),
    )


def pooling(kind, data, size, kernel, stride, pad=(0, 0), n=2, channels=3):
    width, height = size
    return kind(kernel, stride, pad, height, width), data(n, channels, height, width)


# Few channels and wide images keep each image to itself; many channels and narrow ones make lanes.
CASES = {
    "convolution images": convolution(5, 3, (9, 8), 6, (3, 2)),
    "convolution images, stride and pad": convolution(5, 4, (9, 8), 6, (3, 2), (2, 1), (1, 2)),
    "convolution images, groups": convolution(5, 4, (9, 8), 6, (2, 2), groups=2),
    "convolution images, one row": convolution(1, 3, (9, 8), 6, (3, 2)),
    "convolution lanes": convolution(5, 24, (5, 4), 4, (3, 2)),
    "convolution lanes, stride and pad": convolution(5, 24, (5, 4), 4, (3, 2), (2, 3), (1, 2)),
    "convolution lanes, groups": convolution(5, 24, (5, 4), 4, (2, 2), (1, 1), (1, 0), 2),
    "convolution lanes, one row": convolution(1, 24, (5, 4), 4, (3, 2)),
    "convolution 1x1": convolution(3, 6, (4, 3), 5, (1, 1)),
    "convolution 1x1, groups": convolution(3, 6, (4, 3), 4, (1, 1), groups=2),
    "convolution 1x1, stride": convolution(3, 6, (5, 4), 5, (1, 1), (2, 3)),
    "convolution of the whole image": convolution(3, 6, (5, 4), 5, (5, 4)),
    "inner_product": (InnerProduct(), normal(5, 4), normal(3, 4), normal(3)),
    "inner_product of images": (InnerProduct(), normal(5, 2, 3, 2), normal(3, 12), normal(3)),
    "max_pooling tiles": pooling(MaxPooling, ties, (6, 4), (2, 2), (2, 2)),
    "max_pooling overlaps": pooling(MaxPooling, ties, (7, 6), (3, 2), (2, 1)),
    "max_pooling overruns": pooling(MaxPooling, ties, (8, 8), (3, 3), (2, 2)),
    "max_pooling pad": pooling(MaxPooling, ties, (7, 6), (3, 4), (2, 3), (2, 1)),
    "max_pooling gaps": pooling(MaxPooling, ties, (7, 6), (1, 2), (3, 3)),
    "max_pooling of everything": pooling(MaxPooling, ties, (12, 11), (12, 11), (1, 1)),
    "max_pooling of minus infinity": (MaxPooling((2, 2), (1, 1), (1, 1), 3, 3), np.full((1, 2, 3, 3), -np.inf)),
    "mean_pooling tiles": pooling(MeanPooling, normal, (6, 4), (2, 2), (2, 2)),
    "mean_pooling overruns": pooling(MeanPooling, normal, (8, 8), (3, 3), (2, 2)),
    "mean_pooling pad": pooling(MeanPooling, normal, (7, 6), (3, 4), (2, 3), (2, 1)),
    "max_channel_pooling": (MaxChannelPooling(3, 2, (0, 0), 7), ties(2, 7, 3, 2)),
    "max_channel_pooling pad": (MaxChannelPooling(3, 2, (1, 2), 6), ties(2, 6, 4)),
    "max_channel_pooling features": (MaxChannelPooling(2, 2, (0, 0), 6), ties(3, 6)),
    "mean_channel_pooling": (MeanChannelPooling(3, 2, (0, 0), 7), normal(2, 7, 3, 2)),
    "mean_channel_pooling pad": (MeanChannelPooling(3, 1, (2, 1), 6), normal(2, 6, 4)),
    "lrn_across_channel": (LRNAcrossChannel(5, 0.7, 1.5, 0.75), normal(2, 7, 3, 2)),
    "lrn_across_channel even": (LRNAcrossChannel(4, 0.7, 1.5, 0.75), normal(2, 7, 3, 2)),
    "lrn_across_channel few": (LRNAcrossChannel(5, 0.7, 1.5, 0.75), normal(2, 1, 3, 2)),
    "lrn_within_channel": (LRNWithinChannel(3, 0.7, 1.5, 0.75), normal(2, 3, 5, 4)),
    "lrn_within_channel even": (LRNWithinChannel(4, 0.7, 1.5, 0.75), normal(2, 3, 5, 2)),
    "add": (Add(), normal(3, 4), normal(3, 4)),
    "subtract": (Subtract(), normal(3, 4), normal(3, 4)),
    "multiply": (Multiply(), normal(3, 4), normal(3, 4)),
    "divide": (Divide(), normal(3, 4), positive(3, 4)),
    "power": (Power(1.7, 0.8, 0.4), positive(3, 4)),
    "power 2": (Power(2.0, 1.5, -0.5), normal(3, 4)),
    "power 3": (Power(3.0, 1.5, 0.0), normal(3, 4)),
    "power 1": (Power(1.0, -2.0, 0.5), normal(3, 4)),
    "power 0": (Power(0.0, 1.0, 0.0), np.zeros((3, 4))),
    "power scale 0": (Power(2.0, 0.0, 3.0), normal(3, 4)),
    "softmax": (Softmax(), 50 * normal(5, 4)),
    "softmax of images": (Softmax(), normal(2, 4, 3, 2)),
    "dropout": (Dropout(0.3, True, 2**40 + 7, 2**31 + 5), normal(4, 3, 5), cell(11), cell(128)),
    "dropout unscaled": (Dropout(0.5, False, 3, 5), normal(6, 4), cell(0), cell(0)),
    "dropout of what is not finite": (
        Dropout(0.5, True, 3, 5),
        np.full((4, 9), np.inf),
        cell(1, np.int32),
        cell(2, np.int32),
    ),
    "softmax_loss": (SoftmaxLoss(7), normal(5, 4), labels(4, 5), cell(5), cell(0, np.int32)),
    "softmax_loss fewer rows": (SoftmaxLoss(7), normal(5, 4), labels(4, 5, 1), cell(3), cell(0, np.int32)),
    "softmax_loss positions": (
        SoftmaxLoss(7),
        normal(3, 4, 2, 3),
        labels(4, 3, 1, 2, 3),
        cell(2, np.int32),
        cell(0, np.int32),
    ),
    "softmax_loss unlikely": (
        SoftmaxLoss(7),
        np.array([[0.0, 900.0]]),
        np.array([0], np.int32),
        cell(1),
        cell(0, np.int32),
    ),
    "relu": (ReLUOp(0.0), ties(3, 4)),
    "relu epsilon": (ReLUOp(1.0), ties(3, 4)),
    "lrelu": (LReLUOp(), ties(3, 4)),
    "sigmoid": (SigmoidOp(), 200 * normal(3, 40)),
    "tanh": (TanhOp(), normal(3, 4)),
    "exponential": (ExponentialOp(), normal(3, 4)),
}


def test_no_kernel_is_forgotten():
    tested = {op.name for op, *_ in CASES.values()} | {"sgd"}
    assert tested == set(_plugin.KERNELS)


class Bound:
    """One use of an op, with its kernel and buffers as a program would have them."""

    def __init__(self, op, arrays, build=None, saved=True):
        specs = [Spec(a.shape, str(a.dtype)) for a in arrays]
        outs = [Value("y", *spec) for spec in op.infer(*specs)]
        self.inputs = [Value("x", *spec) for spec in specs]
        updated = [self.inputs[i] for i in op.updates]
        call = Call(op, tuple(self.inputs), (*outs, *updated))
        self.op = op
        self.kernel = Reference(NUMPY, call) if build is None else build(NUMPY, call)
        self.x = [a.copy() for a in arrays]
        self.y = [poisoned(value.spec) for value in outs]
        if not saved:
            self.y[len(outs) - op.saved :] = [None] * op.saved
        self.y += [self.x[i] for i in op.updates]
        self.saves = [poisoned(spec) for spec in self.kernel.saves]

    def forward(self):
        workspace = [poisoned(spec) for spec in self.kernel.forward_workspace]
        run = self.kernel.forward(self.x, [*self.y, *self.saves, *workspace], [False] * len(self.y))
        run()
        for buffer in workspace:
            poison(buffer)
        run()
        return self.y

    def backward(self, dy, add, wanted=None):
        op = self.op
        indices = range(len(self.x)) if op.differentiable is None else op.differentiable
        wanted = indices if wanted is None else wanted
        gradients = [np.full_like(x, add) if i in wanted else None for i, x in enumerate(self.x)]
        x = [x if op.reads("x", i) else None for i, x in enumerate(self.x)]
        y = [y if op.reads("y", i) else None for i, y in enumerate(self.y)]
        workspace = [poisoned(spec) for spec in self.kernel.backward_workspace]
        dys = [dy, *[None] * (len(y) - 1)]
        adds = [bool(add) and g is not None for g in gradients]
        run = self.kernel.backward([*dys, *x, *y, *self.saves], [*gradients, *workspace], adds)
        run()
        if add:
            for gradient in gradients:
                if gradient is not None:
                    gradient[...] = add
        for buffer in workspace:
            poison(buffer)
        run()
        return gradients


def poison(buffer):
    buffer[...] = np.nan if buffer.dtype.kind == "f" else 1 if buffer.dtype.kind == "b" else 99


def poisoned(spec):
    buffer = np.empty(spec.shape, spec.dtype)
    poison(buffer)
    return buffer


def built(op):
    return import_string(f"mocha_cpu.{_plugin.KERNELS[op.name]}", op.name)


def cast(arrays, dtype):
    return [a.astype(dtype) if a.dtype == np.float64 and a.ndim else a for a in arrays]


def agree(received, expected, dtype):
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for ours, theirs in zip(received, expected, strict=True):
        if theirs is None or ours is None:
            assert ours is theirs
        elif theirs.dtype.kind == "f":
            scale = max(1, float(np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0)))
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_kernel_does_what_the_reference_does(case, dtype):
    op, *arrays = CASES[case]
    arrays = cast(arrays, dtype)
    ours, reference = Bound(op, arrays, built(op)), Bound(op, arrays)
    assert type(ours.kernel).__module__.startswith("mocha_cpu.")
    agree(ours.forward(), reference.forward(), dtype)
    dy = np.random.default_rng(1).normal(size=ours.y[0].shape).astype(dtype)
    for add in (0, 2):
        agree(ours.backward(dy, add), reference.backward(dy, add), dtype)
    for index in range(len(arrays)) if op.differentiable is None else op.differentiable:
        agree(ours.backward(dy, 0, [index]), reference.backward(dy, 0, [index]), dtype)
    agree(ours.x, reference.x, dtype)


@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("max_") and "infinity" not in c])
def test_maximum_without_its_index(case):
    """Inference binds no buffer for what only backward reads."""
    op, *arrays = CASES[case]
    ours = Bound(op, arrays, built(op), saved=False)
    agree(ours.forward()[:1], Bound(op, arrays).forward()[:1], "float64")


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("convolution")])
def test_convolution_in_small_blocks(case, lanes, monkeypatch):
    """Several blocks, the last one smaller, give what one gives."""
    monkeypatch.setattr("mocha_cpu.convolution.BLOCK_BYTES", {True: 20_000, False: 10_000})
    op, *arrays = CASES[case]
    ours, reference = Bound(op, arrays, built(op)), Bound(op, arrays)
    agree(ours.forward(), reference.forward(), "float64")
    dy = np.random.default_rng(1).normal(size=ours.y[0].shape)
    for add in (0, 2):
        agree(ours.backward(dy, add), reference.backward(dy, add), "float64")


@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply(), Divide()], ids=lambda op: op.name)
def test_one_blob_as_both_operands(op):
    """x op x: the gradients go to one buffer, overwritten first and then added to."""
    x, dy, gradient = positive(3, 4), normal(3, 4), np.full((3, 4), np.nan)
    spec = Spec(x.shape, "float64")
    value = Value("x", *spec)
    kernel = built(op)(NUMPY, Call(op, (value, value), (Value("y", *spec),)))
    y = poisoned(spec)
    kernel.forward([x, x], [y], [False])()
    workspace = [poisoned(s) for s in kernel.backward_workspace]
    kernel.backward([dy, x, x, y], [gradient, gradient, *workspace], [False, True])()
    slope = {"add": 2, "subtract": 0, "multiply": 2 * x, "divide": 0}[op.name]
    np.testing.assert_allclose(gradient, slope * dy, atol=1e-12)


@pytest.mark.parametrize("label", [-1, 4, 2**31 - 1, -(2**31)])
def test_label_out_of_range_sets_the_status(label):
    arrays = [normal(3, 4), np.array([1, label, 0], np.int32), cell(3), cell(0, np.int32)]
    ours, reference = (Bound(SoftmaxLoss(7), arrays, build) for build in (built(SoftmaxLoss(7)), None))
    agree(ours.forward(), reference.forward(), "float64")
    assert ours.y[2] == 7
    agree(ours.backward(np.array(1.0), 0), reference.backward(np.array(1.0), 0), "float64")


def test_an_earlier_fault_stays():
    arrays = [normal(1, 4), np.array([9], np.int32), cell(1), cell(3, np.int32)]
    assert Bound(SoftmaxLoss(7), arrays, built(SoftmaxLoss(7))).forward()[2] == 3


def test_a_label_that_does_not_count_is_not_looked_at():
    arrays = [normal(2, 4), np.array([1, 99], np.int32), cell(1), cell(0, np.int32)]
    ours = Bound(SoftmaxLoss(7), arrays, built(SoftmaxLoss(7)))
    assert ours.forward()[2] == 0
    gradient = ours.backward(np.array(1.0), 0)[0]
    assert np.any(gradient[0])
    assert not np.any(gradient[1])


@pytest.mark.parametrize("case", [c for c in CASES if "pooling" in c and "infinity" not in c])
def test_pooling_survives_nan(case):
    op, *arrays = CASES[case]
    x = arrays[0].copy()
    x[0, ::2] = np.nan
    ours = Bound(op, [x], built(op))
    agree(ours.forward()[:1], Bound(op, [x]).forward()[:1], "float64")
    gradient = ours.backward(np.ones_like(ours.y[0]), 0)[0]
    assert np.all(np.isfinite(gradient))
