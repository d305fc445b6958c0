"""Layouts are chosen per value: conversions stand only where they must, and padding never leaks."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.convolution import ConvolutionLayer
from toys.half import HalfLayer
from toys.inner_product import InnerProductLayer
from toys.lanes import LANES, Lanes, Turned
from toys.observe import parameters
from toys.plain import Plain
from toys.pooling import PoolingLayer
from toys.product import SquareLayer
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.compile.kernel import Reference
from mocha_core.compile.layout import PLAIN, Layouts
from mocha_core.graph.value import Spec


@pytest.fixture(params=["float32", "float64"])
def net(request):
    with mocha.System(Blocked(), dtype=request.param, seed=3) as system:
        yield mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])


def homes(net):
    net.forward()
    program = net.runs.last_program()
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
        steps = [b for b in net.runs.last_program().bound if b.kernel.label == "FollowingRelu"]
        shapes = {(b.step.call.layer, b.step.half): [len(v.shape) for v in b.step.ins if v] for b in steps}
        conversions = [b.step for b in net.runs.last_program().bound if b.step.call.op.name == "mocha.convert"]
    assert set(shapes) >= {("conv1", "forward"), ("conv1", "backward"), ("relu2", "forward")}
    converted = [step.ins[0].name for step in conversions]
    assert not [name for name in converted if "conv1.toy" in name], "convolution, relu and pooling share lanes"


def test_a_value_is_converted_at_most_once_per_layout(net):
    net.forward()
    steps = [b.step for b in net.runs.last_program().bound if b.step.call.op.name == "mocha.convert"]
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


def gradient_of_conv1(backend, readers, seed=3):
    conv = ConvolutionLayer(name="conv1", n_filter=3, bottoms=["data"], tops=["conv1"])
    with mocha.System(backend, dtype="float64", seed=seed) as system:
        net = mocha.Net("net", system, [nets.data(), conv, *readers])
        objective = net.forward()
        net.backward()
        gradient = net.gradient("conv1", "filter")
        net.blobs["conv1"].set(2 * net.blobs["conv1"].numpy())
        net.backward()
        return objective, gradient, net.gradient("conv1", "filter")


def test_a_value_and_its_view_may_both_be_wanted_in_lanes():
    """They have different shapes, so they need different copies."""
    shapes = set()

    class Watching(Blocked):
        def bind(self, arrangement, chosen, memory):
            dots = [s for s in arrangement.steps if s.key == ("toy.dot", "forward")]
            shapes.update((s.ins[0].shape, s.call.ins[0].shape) for s in dots)
            return super().bind(arrangement, chosen, memory)

    readers = [InnerProductLayer(name=n, output_dim=3, flatten=n == "b", bottoms=["conv1"], tops=[n]) for n in "ab"]
    readers += [SquareLossLayer(name=f"loss-{n}", bottoms=[n, "target"]) for n in "ab"]
    seen, expected = (gradient_of_conv1(make(), readers) for make in (Watching, Plain))
    assert shapes == {((6, 3, 6, 6), (6, 3, 6, 6)), ((6, 108), (6, 108))}
    assert seen[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(seen[1], expected[1], rtol=1e-10)
    np.testing.assert_allclose(seen[2], expected[2], rtol=1e-10)


@pytest.mark.parametrize("wanted", [(PLAIN, LANES), (LANES, PLAIN), (Turned(), LANES), (LANES, Turned())])
def test_one_value_wanted_in_two_layouts_by_one_kernel(register, wanted):
    """x * x, with the two sides and their gradients in different layouts: both gradients add up."""

    class TwoLayouts(Reference):
        layouts = Layouts(ins=wanted, outs=(PLAIN,))

        def forward(self, ins, outs, add):
            return lambda: self.store(outs[0], self.plain(ins[0], 0) * self.plain(ins[1], 1), add[0])

        def backward(self, ins, outs, add):
            def run():
                d, a, b = ins[0], self.plain(ins[1], 0), self.plain(ins[2], 1)
                for i, (out, result) in enumerate(zip(outs, (d * b, d * a), strict=True)):
                    packed = np.empty_like(out)
                    self.repack(result, packed, i)
                    self.store(out, packed, add[i])

            return run

        def store(self, target, result, adds):
            target[...] = target + result if adds else result

        def plain(self, array, i):
            made = np.empty(self.call.ins[0].shape, array.dtype)
            made[...] = array if wanted[i] is PLAIN else 0
            return made if wanted[i] is PLAIN else wanted[i].unpack(None, array, made, add=False) or made

        def repack(self, array, packed, i):
            if wanted[i] is PLAIN:
                packed[...] = array
            else:
                wanted[i].pack(None, array, packed, gradient=True, add=False)

    class Plugin:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.product", "blocked", TwoLayouts)

    readers = [
        SquareLayer(name="square", bottoms=["conv1"], tops=["square"]),
        InnerProductLayer(name="ip", output_dim=3, bottoms=["square"], tops=["ip"]),
        SquareLossLayer(bottoms=["ip", "target"]),
    ]
    expected = gradient_of_conv1(BACKENDS["plain"](), readers)
    register(Plugin(), "two-layouts")
    seen = gradient_of_conv1(BACKENDS["blocked, poisoned"](), readers)
    for one, two in zip(seen, expected, strict=True):
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
        np.testing.assert_allclose(seen["blocked, poisoned"][key], expected, rtol=1e-10, atol=1e-12, err_msg=key)


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


def test_a_python_step_between_kernels_in_lanes_sees_plain_arrays():
    """The toy asserts the shapes it sees; conversions stand on both sides of it, in both directions."""
    readers = [
        PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"]),
        HalfLayer(name="half", bottoms=["pool1"], tops=["half"]),
        InnerProductLayer(name="ip", output_dim=3, bottoms=["half"], tops=["ip"]),
        SquareLossLayer(bottoms=["ip", "target"]),
    ]
    around = []

    class Watching(Blocked):
        def bind(self, arrangement, chosen, memory):
            steps = [(s.call.op.name, str(s.half)) for s in arrangement.steps]
            around.extend(steps[i - 1 : i + 2] for i, (name, _) in enumerate(steps) if name == "toy.half")
            return super().bind(arrangement, chosen, memory)

    seen, expected = (gradient_of_conv1(make(), readers) for make in (Watching, Plain))
    convert = ("mocha.convert", "forward")
    assert around == [[convert, ("toy.half", half), convert] for half in ("forward", "backward")]
    assert seen[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(seen[1], expected[1], rtol=1e-10)
    np.testing.assert_allclose(seen[2], expected[2], rtol=1e-10)


def test_lanes_pad_values_with_a_real_row_and_gradients_with_zeros():
    plain = np.arange(1.0, 7)
    packed = np.empty((2, 4))
    Lanes().pack(None, plain, packed, gradient=False, add=False)
    assert packed.tolist() == [[1, 2, 3, 4], [5, 6, 6, 6]]
    Lanes().pack(None, plain, packed, gradient=True, add=False)
    assert packed.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_values_that_python_and_other_programs_see_are_plain(net):
    SGD(parameters(max_iter=1)).solve(net)
    arrangement = net.runs.last_program().arrangement
    outliving = [v for s in arrangement.steps for v in (*s.ins, *s.outs) if v is not None and not v.transient]
    assert outliving
    assert all(arrangement.home(v) is PLAIN for v in outliving)
