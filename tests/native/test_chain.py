"""Chains: element-wise steps that are one program, alone or as the epilogue of a convolution or an inner product."""

import numpy as np
import pytest
from instruction_sets import HERE
from mocha_native.backend import NativeBackend
from mocha_native.isa import VARIABLE
from nets import data, parameters

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

NEURONS = [neurons.ReLU, neurons.Sigmoid, neurons.Tanh, neurons.LReLU]
#: Convolutions that keep the size of the image: Winograd's, products, direct ones, and depthwise ones.
CONVOLUTIONS = [
    {"kernel": (3, 3), "pad": (1, 1)},
    {"kernel": (1, 1)},
    {"kernel": (5, 3), "pad": (2, 1)},
    {"kernel": (3, 3), "pad": (1, 1), "n_group": 6},
]
#: So many that Winograd's algorithm pays.
FILTERS = {"n_filter": 24}


def random_body(random):
    """Layers over blobs of one shape, with skips around them, and one stride of 2 at the end."""
    body, blobs = [], ["data"]

    def add(kind, *bottoms, **options):
        name = f"l{len(body)}"
        neuron = {"neuron": NEURONS[random.integers(len(NEURONS))]()} if random.random() < 0.4 else {}
        body.append(kind(name=name, bottoms=list(bottoms), tops=[name], **options, **neuron))
        blobs.append(name)

    add(layers.ConvolutionLayer, "data", n_filter=6, **CONVOLUTIONS[0])
    blobs.remove("data")
    for _ in range(8):
        one, other = (blobs[random.integers(max(0, len(blobs) - 3), len(blobs))] for _ in range(2))
        choice = random.random()
        if choice < 0.4:
            add(layers.ConvolutionLayer, blobs[-1], n_filter=6, **CONVOLUTIONS[random.integers(len(CONVOLUTIONS))])
        elif choice < 0.8:
            operation = list(layers.ElementWise)[random.integers(3)]
            add(layers.ElementWiseLayer, one, other, operation=operation)
        else:
            add(layers.PowerLayer, one, scale=0.5, power=2.0, shift=0.25)
    add(layers.ConvolutionLayer, blobs[-1], n_filter=4, kernel=(3, 3), stride=(2, 2))
    add(layers.InnerProductLayer, blobs[-1], output_dim=10)
    return [*body, layers.SoftmaxLossLayer(name="loss", bottoms=[blobs[-1], "label"])]


def trained(body, batch=31, dtype="float64", **options):
    """The kernels of the training program, and all parameters after three iterations."""
    with mocha.System(NativeBackend(**options), seed=2, dtype=dtype) as system:
        net = mocha.Net("net", system, [data(batch=batch, shape=(1, 12, 12)), *body])
        solver = solvers.SGD(parameters(3))
        solver.solve(net)
        kernels = {use.kernel for use in net.runs.training_program(solver).kernels()}
        return kernels, {f"{g}.{n}": p.numpy() for g, group in net.parameters.items() for n, p in group.items()}


@pytest.mark.parametrize("seed", range(12))
def test_any_net_trains_alike_with_and_without_chains(seed):
    random = np.random.default_rng(seed)
    body, batch = random_body(random), int(random.integers(3, 40))
    chained, found = trained(body, batch, threads=2)
    alone, wanted = trained(body, batch, threads=2, fuse=False)
    assert any(" + " in kernel for kernel in chained)
    assert not any(" + " in kernel for kernel in alone)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-8, atol=1e-10, err_msg=name)


def residual(n_group=1, **convolution):
    """A block with a skip whose sum two neurons change, and a product that needs what it reads again."""
    first, convolution = FILTERS | CONVOLUTIONS[0], FILTERS | convolution | {"n_group": n_group}
    return [
        layers.ConvolutionLayer(name="a", bottoms=["data"], tops=["a"], neuron=neurons.ReLU(), **first),
        layers.ConvolutionLayer(name="b", bottoms=["a"], tops=["b"], **convolution),
        layers.ElementWiseLayer(name="sum", bottoms=["b", "a"], tops=["sum"], neuron=neurons.ReLU()),
        layers.ElementWiseLayer(
            name="product", operation=layers.ElementWise.Multiply, bottoms=["sum", "a"], tops=["product"]
        ),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["product"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]


@pytest.mark.parametrize(
    ("convolution", "label"),
    [
        (CONVOLUTIONS[0], "Winograd"),
        (CONVOLUTIONS[1], "Pointwise"),
        (CONVOLUTIONS[2], "Convolution"),
        (CONVOLUTIONS[3] | {"n_group": 24}, "Depthwise"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_epilogues_are_the_same_for_any_number_of_threads(isa, dtype, convolution, label, monkeypatch):
    monkeypatch.setattr(NativeBackend, "cheapest", lambda backend, plan: True)  # in lanes
    kernels, wanted = trained(residual(**convolution), dtype=dtype, threads=1)
    assert f"{label} + add + relu + multiply" in kernels
    for threads in (2, 3):
        _, found = trained(residual(**convolution), dtype=dtype, threads=threads)
        assert all(found[name].tobytes() == values.tobytes() for name, values in wanted.items())
    _, alone = trained(residual(**convolution), dtype=dtype, threads=1, fuse=False)
    tolerance = {"float32": 2e-4, "float64": 1e-9}[dtype]
    for name, values in alone.items():
        np.testing.assert_allclose(wanted[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("outputs", [1, 5, 17, 300])
@pytest.mark.parametrize(("batch", "dtype"), [(31, "float64"), (130, "float64"), (130, "float32")])
def test_the_epilogue_of_an_inner_product(isa, outputs, batch, dtype):
    """Of sums in one chunk and in several, and of tiles, panels and lanes that are not full."""
    body = [
        layers.InnerProductLayer(name="a", output_dim=outputs, bottoms=["data"], tops=["a"], neuron=neurons.Tanh()),
        layers.InnerProductLayer(name="b", output_dim=1300, bottoms=["a"], tops=["b"], neuron=neurons.Sigmoid()),
        layers.InnerProductLayer(name="c", output_dim=outputs, bottoms=["b"], tops=["c"]),
        layers.ElementWiseLayer(name="sum", bottoms=["c", "a"], tops=["sum"], neuron=neurons.ReLU()),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["sum"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    kernels, wanted = trained(body, batch, dtype, threads=1)
    assert {"InnerProduct + tanh", "InnerProduct + sigmoid", "InnerProduct + add + relu"} <= kernels
    assert any("updat" in kernel or "of parameters" in kernel for kernel in kernels)
    for threads in (2, 3):
        _, found = trained(body, batch, dtype, threads=threads)
        assert all(found[name].tobytes() == values.tobytes() for name, values in wanted.items())
    _, alone = trained(body, batch, dtype, threads=1, fuse=False)
    tolerance = {"float32": 2e-4, "float64": 1e-9}[dtype]
    for name, values in alone.items():
        np.testing.assert_allclose(wanted[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


def test_a_sum_of_gradients_is_finished_before_the_epilogue_reads_it():
    """The gradient of "a" comes from two layers; the neuron before it is the epilogue of the last one."""
    kernels, _ = trained(residual(**CONVOLUTIONS[0]), dtype="float32", threads=2)
    assert "Winograd + relu" in kernels


def test_a_sum_to_which_an_epilogue_adds_is_read_behind_it():
    """The gradient of "b" comes from the product and from the sum, whose step is in the epilogue of "c"; the neuron of
    "b" reads both, not what that epilogue adds."""
    body = [
        layers.ConvolutionLayer(name="a", bottoms=["data"], tops=["a"], **FILTERS, **CONVOLUTIONS[0]),
        layers.ConvolutionLayer(
            name="b", bottoms=["a"], tops=["b"], neuron=neurons.ReLU(), **FILTERS, **CONVOLUTIONS[0]
        ),
        layers.ElementWiseLayer(name="sum", bottoms=["a", "b"], tops=["sum"]),
        layers.ConvolutionLayer(
            name="c", bottoms=["sum"], tops=["c"], neuron=neurons.Sigmoid(), **FILTERS, **CONVOLUTIONS[0]
        ),
        layers.ElementWiseLayer(
            name="product", operation=layers.ElementWise.Multiply, bottoms=["c", "b"], tops=["product"]
        ),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["product"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    kernels, found = trained(body)
    _, alone = trained(body, fuse=False)
    for name, values in alone.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-8, atol=1e-10, err_msg=name)
    assert "Winograd + add" in kernels


def test_what_the_user_reads_is_kept():
    """Blobs between the steps of a chain are there after a run that asks for them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((31, 1, 12, 12)).astype("float32")
    with mocha.System(NativeBackend(threads=2), seed=2) as system:
        net = mocha.Net("net", system, [data(batch=31, shape=(1, 12, 12)), *residual(**CONVOLUTIONS[0])])
        a, b, total = (net.predict(x, name) for name in ("a", "b", "sum"))
        np.testing.assert_allclose(np.maximum(a + b, 0), total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_predictions_have_chains_too(batch, monkeypatch):
    """Also with few images, where convolutions take no epilogue."""
    x = np.random.default_rng(0).standard_normal((batch, 1, 12, 12)).astype("float32")
    found = []
    for name in HERE:
        monkeypatch.setenv(VARIABLE, name)
        for fuse in (True, False):
            with mocha.System(NativeBackend(threads=2, fuse=fuse), seed=2) as system:
                net = mocha.Net("net", system, [data(batch=31, shape=(1, 12, 12)), *residual(**CONVOLUTIONS[0])])
                found.append(net.predict(x, "product"))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)
