"""Kernels for few images, which vectorise over channels: against the ops' own functions in float64, for odd numbers of
channels, sizes, strides, padding and groups, in every instruction set, with 1, 2 and 3 threads."""

import numpy as np
import pytest
from kernel_use import KernelUse
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling
from mocha_layers_std.convolution import Convolution
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel
from mocha_layers_std.pooling import MaxPooling, MeanPooling
from mocha_native.backend import NativeBackend
from mocha_native.channels_last import packed_filters
from mocha_native.layout import convert

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec, Value
from mocha_core.testing.inputs import constant
from mocha_core.testing.tolerances import TOLERANCES, assert_close

DTYPES = ["float32", "float64"]


def check(op, inputs, dtype, rng, tolerance=1.0):
    """Both halves, gradients written and added, are those of the reference, and the same bytes for all threads."""
    backends = [NativeBackend(threads=n) for n in (1, 2, 3)]
    while not backends[0].few(Value("x", inputs[0].shape, dtype)):
        inputs[0] = inputs[0][:-1]
    inputs = [np.asarray(inputs[0], dtype), *(np.asarray(a, dtype) for a in inputs[1:])]
    wide = [a.astype(np.float64) for a in inputs]
    y = op.forward(np, *wide)
    y = y if isinstance(y, tuple) else (y,)
    top = rng.standard_normal(y[0].shape).astype(dtype)
    dx = op.backward(np, [top.astype(np.float64), *[None] * (len(y) - 1)], wide, y, [True] * len(wide))
    results = []
    for backend in backends:
        use = KernelUse(backend, op, *inputs)
        assert use.kernel.layouts.of_out(0) is backend.channels_last[dtype]
        results.append([*use.forward(), *use.backward(top), *use.backward(top, add=True)])
    for others in results[1:]:
        assert [a.tobytes() for a in others] == [a.tobytes() for a in results[0]]
    for i, wanted in enumerate([*y, *dx, *(1 + g for g in dx)]):
        assert_close(f"result {i}", results[0][i], wanted, TOLERANCES[dtype] * tolerance)


#: x, filters, kernel (width, height), stride, pad, groups.
CONVOLUTIONS = [
    ((1, 1, 9, 28), 20, (5, 5), (1, 1), (0, 0), 1),
    ((1, 3, 11, 9), 33, (5, 3), (2, 1), (2, 1), 1),
    ((3, 20, 7, 17), 50, (3, 3), (1, 1), (1, 1), 1),
    ((1, 16, 4, 31), 16, (1, 1), (1, 1), (0, 0), 1),
    ((2, 33, 9, 5), 20, (1, 1), (3, 2), (0, 0), 1),
    ((1, 6, 8, 7), 9, (2, 3), (2, 2), (3, 4), 3),
    ((2, 34, 5, 6), 40, (3, 2), (1, 2), (1, 0), 2),
    ((1, 66, 3, 3), 1, (3, 3), (1, 1), (0, 0), 1),
    ((1, 7, 10, 10), 5, (2, 2), (5, 4), (0, 0), 1),
    # Larger than what the gradient of filters reads at once.
    ((2, 20, 40, 50), 40, (3, 2), (1, 1), (1, 1), 1),
    ((2, 32, 61, 70), 34, (2, 3), (2, 1), (1, 1), 2),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(isa, dtype, case, rng):
    shape, filters, kernel, stride, pad, groups = case
    w = rng.standard_normal((filters, shape[1] // groups, *kernel[::-1]))
    x, b = rng.standard_normal(shape), rng.standard_normal(filters)
    check(Convolution(kernel, stride, pad, groups), [x, w, b], dtype, rng, 3)


#: Shape, kernel, stride, pad, as above.
POOLINGS = [
    ((1, 20, 24, 24), (2, 2), (2, 2), (0, 0)),
    ((2, 33, 9, 7), (3, 3), (2, 2), (0, 0)),
    ((1, 1, 5, 8), (3, 2), (1, 2), (2, 1)),
    ((2, 5, 6, 6), (4, 3), (3, 5), (1, 2)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [MaxPooling, MeanPooling])
@pytest.mark.parametrize("case", POOLINGS, ids=str)
def test_pooling(isa, dtype, kind, case, rng):
    shape, *window = case
    x = np.round(rng.standard_normal(shape), 1)  # some elements are equal
    check(kind(*window, *shape[2:]), [x], dtype, rng)


def test_maxima_of_what_is_not_finite(isa, rng):
    x = rng.standard_normal((1, 3, 6, 6))
    x[0, 1, 2, 2] = x[0, 1, 2, 3] = np.nan
    for op, array in (
        (MaxPooling((3, 3), (1, 1), (1, 1), 6, 6), x),
        (MaxPooling((3, 2), (2, 1), (1, 1), 6, 6), np.full_like(x, -np.inf)),
        (MaxChannelPooling(2, 1, (1, 1), 3), x),
    ):
        found = KernelUse(NativeBackend(threads=2), op, array).forward()
        for y, wanted in zip(found, op.forward(np, array), strict=True):
            np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [LRNAcrossChannel, LRNWithinChannel])
@pytest.mark.parametrize("case", [((1, 33, 5, 7), 3, 0.75), ((2, 5, 3, 4), 4, 1.3), ((1, 1, 6, 2), 7, 0.5)], ids=str)
def test_lrn(isa, dtype, kind, case, rng):
    shape, kernel, power = case
    check(kind(kernel, 0.7, 1.1, power), [rng.standard_normal(shape)], dtype, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [MaxChannelPooling, MeanChannelPooling])
@pytest.mark.parametrize(
    "case", [((1, 33, 5), 3, 2, (0, 0)), ((2, 20, 3, 4), 4, 3, (1, 2)), ((1, 5, 1, 1), 5, 1, (3, 4))]
)
def test_channel_pooling(isa, dtype, kind, case, rng):
    shape, *window = case
    check(kind(*window, shape[1]), [np.round(rng.standard_normal(shape), 1)], dtype, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5, 7), (3, 16, 33), (1, 20, 4, 4), (2, 65, 1, 2)], ids=str)
def test_to_channels_last_and_back(isa, dtype, shape, rng):
    plain = rng.standard_normal(shape).astype(dtype)
    for threads in (1, 2, 3):
        backend = NativeBackend(threads=threads)
        layout = backend.channels_last[dtype]
        for add in (False, True):
            found, wanted = (np.ones(layout.physical(Spec(shape, dtype)).shape, dtype) for _ in range(2))
            layout.pack(backend, plain, wanted, gradient=False, add=add)
            converted(backend, PLAIN, layout, plain, found, add)
            assert found.tobytes() == wanted.tobytes()
            back, there = np.ones(shape, dtype), np.ones(shape, dtype)
            layout.unpack(backend, wanted, there, add=add)
            assert converted(backend, layout, PLAIN, wanted, back, add).tobytes() == there.tobytes()


@pytest.mark.parametrize("shape", [(33, 3, 2, 5), (1, 1, 1, 1), (20, 16, 3, 3), (64, 5, 1, 2)], ids=str)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("mirrored", "stride"), [(False, (1, 1)), (True, (1, 1)), (True, (2, 1)), (True, (3, 4))])
def test_filters_packed_by_c_are_those_packed_by_numpy(isa, shape, groups, mirrored, stride, rng):
    backend = NativeBackend(threads=2)
    block, width = backend.isa.constants["channels_last_block"], backend.lanes["float32"].width
    layout = packed_filters(width, block * width, groups, mirrored, stride)
    plain = rng.standard_normal((shape[0] * groups, *shape[1:])).astype("float32")
    found, wanted = (np.full(layout.physical(Spec(plain.shape, "float32")).shape, 7, "float32") for _ in range(2))
    layout.pack(backend, plain, wanted, gradient=False, add=False)
    assert converted(backend, PLAIN, layout, plain, found, False).tobytes() == wanted.tobytes()


def converted(backend, source, target, array, into, add):
    x, y = (Value(name, (array if source is PLAIN else into).shape, str(array.dtype)) for name in "xy")
    convert(backend, Call(Convert(source, target, False), (x,), (y,))).forward([array], [into], [add])()
    return into


def body():
    """Every op that has a kernel for few images, among them a division, which makes NaN of padding."""
    return [
        layers.ConvolutionLayer(name="c1", n_filter=20, kernel=(3, 3), bottoms=["data"], tops=["c1"]),
        layers.PoolingLayer(
            name="p1", kernel=(2, 2), stride=(2, 2), neuron=neurons.ReLU(), bottoms=["c1"], tops=["p1"]
        ),
        layers.LRNLayer(name="n1", kernel=3, bottoms=["p1"], tops=["n1"]),
        layers.ElementWiseLayer(name="one", operation=layers.ElementWise.Divide, bottoms=["n1", "n1"], tops=["one"]),
        layers.ElementWiseLayer(name="e", operation=layers.ElementWise.Multiply, bottoms=["n1", "p1"], tops=["e"]),
        layers.ConvolutionLayer(
            name="c2",
            n_filter=6,
            n_group=2,
            kernel=(3, 3),
            pad=(1, 1),
            neuron=neurons.ReLU(),
            bottoms=["e"],
            tops=["c2"],
        ),
        layers.LRNLayer(name="n2", kernel=3, mode=layers.LRNMode.WithinChannel, bottoms=["c2"], tops=["n2"]),
        layers.ChannelPoolingLayer(name="cp", kernel=2, stride=2, bottoms=["n2"], tops=["cp"]),
        layers.PoolingLayer(
            name="p2", kernel=(2, 2), stride=(1, 1), pooling=layers.Pooling.Mean, bottoms=["cp"], tops=["p2"]
        ),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["p2"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


def test_predictions_of_any_batch_agree_with_cpu(isa, rng):
    images = rng.standard_normal((20, 3, 9, 11)).astype("float32")
    source = layers.MemoryDataLayer(
        name="data", batch_size=20, data=constant([images, np.zeros(20)]), tops=["data", "label"]
    )
    common = body()
    found = {}
    for name in ("cpu", "native"):
        with mocha.System(name, seed=3) as system:
            net = mocha.Net("net", system, [source, *common])
            found[name] = {n: net.predict(images[:n], output="y") for n in range(1, 21)}
            if name == "native":
                net.predict(images[:1], output="y")
                kernels = {use.kernel for use in net.program("y").kernels()}
    assert {"SmallLRN", "SmallChannelPooling", "SmallConvolution", "SmallPooling + ReLU"} <= kernels
    for n, wanted in found["cpu"].items():
        np.testing.assert_allclose(found["native"][n], wanted, rtol=1e-4, atol=1e-5)


def kernels(batch, filters, training):
    """Those of a convolution of images of 32 x 32 pixels in a net, by their names."""
    data = constant([np.zeros((batch, 16, 32, 32), "float32"), np.zeros(batch)])
    body = [
        layers.MemoryDataLayer(name="data", batch_size=batch, data=data, tops=["data", "label"]),
        layers.ConvolutionLayer(name="c", n_filter=filters, kernel=(7, 7), bottoms=["data"], tops=["c"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["c"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    with mocha.System("native", seed=3, threads=1) as system:
        net = mocha.Net("net", system, body)
        solver = solvers.SGD(mocha.SolverParameters(max_iter=1))
        program = net.runs.training_program(solver) if training else net.program("y")
        return {use.kernel for use in program.kernels() if use.layer == "c" and use.op == "convolution"}


@pytest.mark.parametrize("training", [False, True])
def test_images_are_in_lanes_where_these_are_full(isa, training):
    width = NativeBackend(threads=1).lanes["float32"].width
    for batch, lanes in ((1, False), (width // 2, False), (width, True), (width + 1, False), (8 * width - 1, True)):
        found = kernels(batch, 4 * width, training)
        assert found == {"Convolution" if lanes else "SmallConvolution"}, batch


def test_layout_of_blobs_by_batch():
    backend = NativeBackend(threads=1)
    lanes = backend.lanes["float32"]
    images, rows = (lambda n: Value("x", (n, 3, 4, 4), "float32")), (lambda n: Value("x", (n, 3), "float32"))
    assert backend.blob_layout(images(100)) is backend.blob_layout(rows(100)) is lanes
    assert backend.blob_layout(images(1)) is backend.blob_layout(rows(1)) is PLAIN
    assert backend.small_layout(images(1)) is backend.channels_last["float32"]
    assert backend.small_layout(images(100)) is backend.small_layout(rows(1)) is None
