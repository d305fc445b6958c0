"""Layouts are chosen per value: conversions stand only where they must, and padding never leaks."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.inner_product import InnerProductLayer
from toys.lanes import LANES, Lanes, Turned
from toys.observe import parameters
from toys.product import SquareLayer
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.layout import PLAIN
from mocha_core.value import Spec


@pytest.fixture(params=["float32", "float64"])
def net(request):
    with mocha.System(Blocked(), dtype=request.param, seed=3) as system:
        yield mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])


def homes(net):
    net.forward()
    program = net.last_program()
    return {name: program.arrangement.home(value) for name, value in program.plan.blobs.items()}


def kernels(net):
    net.forward()
    return {(use.layer, use.op, use.half): use.kernel for use in net.program().kernels()}


def test_each_value_lives_where_its_maker_put_it(net):
    lanes = {name for name, layout in homes(net).items() if layout is LANES}
    followed = {"conv1", "tied1"} if net.system.dtype == "float32" else set()
    assert lanes == {"pool1", "scores", "side"} | followed


def test_a_kernel_may_decline_by_attribute_or_dtype(net):
    chosen = kernels(net)
    assert chosen["conv1", "toy.convolution", "forward"] == "BlockedConvolution"
    assert chosen["conv2", "toy.convolution", "forward"] == "reference of toy.convolution"
    single = net.system.dtype == "float32"
    expected = "FollowingRelu" if single else "reference of toy.relu"
    assert chosen["conv1", "toy.relu", "forward"] == chosen["conv1", "toy.relu", "backward"] == expected


def test_an_element_wise_kernel_follows_its_input():
    with mocha.System(Blocked(), dtype="float32", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        net.forward()
        steps = [b for b in net.last_program().bound if b.kernel.label == "FollowingRelu"]
        shapes = {(b.step.call.layer, b.step.half): [len(v.shape) for v in b.step.ins if v] for b in steps}
        conversions = [b.step for b in net.last_program().bound if b.step.call.op.name == "mocha.convert"]
    assert set(shapes) >= {("conv1", "forward"), ("conv1", "backward"), ("relu2", "forward")}
    converted = [step.ins[0].name for step in conversions]
    assert not [name for name in converted if "conv1.toy" in name], (
        "convolution, relu and pooling share lanes"
    )


def test_a_value_is_converted_at_most_once_per_layout(net):
    net.forward()
    steps = [b.step for b in net.last_program().bound if b.step.call.op.name == "mocha.convert"]
    forward = [(s.ins[0], s.call.op.target) for s in steps if s.section == "forward"]
    assert len(forward) == len(set(forward)) > 2


def test_setting_a_blob_in_lanes_reaches_all_its_readers():
    """The blob's own memory, and the copies in other layouts that backward reads."""
    made = {}
    for name in ("plain", "blocked"):
        x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
        y = InnerProductLayer(name="y", output_dim=3, bottoms=["x"], tops=["y"])
        square = SquareLayer(name="square", bottoms=["x"], tops=["square"])
        losses = [SquareLossLayer(name=f"loss-{t}", bottoms=[t, "target"]) for t in ("y", "square")]
        with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
            net = mocha.Net("net", system, [nets.data(), x, y, square, *losses])
            net.forward()
            net.blobs["x"].set(np.arange(18.0).reshape(6, 3))
            np.testing.assert_array_equal(net.blobs["x"].numpy(), np.arange(18.0).reshape(6, 3))
            net.backward()
            made[name] = [net.gradient(layer, "weight") for layer in ("x", "y")]
    for one, two in zip(made["blocked"], made["plain"], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 8])
def test_padding_never_leaks(batch):
    """Losses, gradients, parameters and statistics are those of the plain backend at any batch size."""
    seen = {}
    for name in ("plain", "blocked, poisoned"):
        with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
            body = nets.body()
            net = mocha.Net("net", system, [nets.data(batch), *body, *nets.losses(), *nets.accuracy()])
            SGD(parameters(max_iter=3)).solve(net)
            net.reset_statistics()
            validated = net.forward_epoch()
            states = {key: state.numpy() for key, state in net.states.items()}
            seen[name] = states | net.statistics() | {"loss": validated}
    for key, expected in seen["plain"].items():
        np.testing.assert_allclose(
            seen["blocked, poisoned"][key], expected, rtol=1e-10, atol=1e-12, err_msg=key
        )


@pytest.mark.parametrize("layout", [LANES, Turned()])
@pytest.mark.parametrize("shape", [(6,), (5, 2, 3), (8, 1)])
def test_toy_layouts_are_their_own_inverse(layout, shape):
    plain = np.random.default_rng(1).standard_normal(shape)
    packed = np.full(layout.physical(Spec(shape, "float64")).shape, np.nan)
    back = np.full(shape, np.nan)
    layout.pack(None, plain, packed, gradient=False, add=False)
    layout.unpack(None, packed, back, add=False)
    np.testing.assert_array_equal(back, plain)
    layout.pack(None, plain, packed, gradient=False, add=True)
    layout.unpack(None, packed, back, add=True)
    np.testing.assert_array_equal(back, 3 * plain)


def test_lanes_pad_values_with_a_real_row_and_gradients_with_zeros():
    plain = np.arange(1.0, 7)
    packed = np.empty((2, 4))
    Lanes().pack(None, plain, packed, gradient=False, add=False)
    assert packed.tolist() == [[1, 2, 3, 4], [5, 6, 6, 6]]
    Lanes().pack(None, plain, packed, gradient=True, add=False)
    assert packed.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_values_that_python_and_other_programs_see_are_plain(net):
    SGD(parameters(max_iter=1)).solve(net)
    arrangement = net.last_program().arrangement
    outliving = [v for s in arrangement.steps for v in (*s.ins, *s.outs) if v is not None and not v.transient]
    assert outliving
    assert all(arrangement.home(v) is PLAIN for v in outliving)
