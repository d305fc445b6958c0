"""Building a net: what it refuses and says, what it leaves behind, and the initial parameters."""

import numpy as np
import pytest
from toys import nets
from toys.convolution import ConvolutionLayer
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.describe.parameter import Initializer
from mocha_core.errors import ShapeError, TopologyError, UnknownNameError


def test_wrong_shapes_name_layer_blob_and_both_shapes(system):
    message = r"SquareLossLayer\(loss\) in net 'n', bottoms 'x' float64\[6, 4\], 'target' float64\[6, 3\]: "
    with pytest.raises(ShapeError, match=message):
        mocha.Net("n", system, [nets.data(), nets.dense(dim=4), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    flat = ConvolutionLayer(name="conv", n_filter=2, bottoms=["x"], tops=["c"])
    with pytest.raises(
        ShapeError, match=r"ConvolutionLayer\(conv\) in net 'n', bottoms 'x' float64\[6, 3\]: .*four axes"
    ):
        mocha.Net("n", system, [nets.data(), nets.dense(), flat])


def test_wrong_numbers_of_bottoms_and_tops(system):
    with pytest.raises(TopologyError, match=r"SquareLossLayer\(l\) in net 'n', bottoms 'data' .*missing 1 required"):
        mocha.Net("n", system, [nets.data(), SquareLossLayer(name="l", bottoms=["data"])])
    two = InnerProductLayer(name="two", output_dim=3, bottoms=["data"], tops=["a", "b"])
    with pytest.raises(TopologyError, match=r"InnerProductLayer\(two\) .*: expected 1 tops, received 2 \(a, b\)"):
        mocha.Net("n", system, [nets.data(), two])
    few = MemoryLayer(name="data", batch_size=2, arrays=nets.rows(4), tops=("data", "label"))
    with pytest.raises(ShapeError, match=r"MemoryLayer\(data\) .*each of the 3 arrays of its source, received 2 tops"):
        mocha.Net("n", system, [few])


def test_a_net_needs_data(system):
    with pytest.raises(TopologyError, match="Net 'n' has no data layer"):
        mocha.Net("n", system, [CellLayer(name="c", tops=["c"])])


class CellLayer(Layer):
    def build(self, b):
        return (b.cell("iteration"),)


def test_sharing_parameters_of_another_shape(system):
    layers = [nets.data(), nets.dense(top="a", param_key="w"), nets.dense("a", "b", param_key="w")]
    with pytest.raises(
        ShapeError,
        match=r"InnerProductLayer\(b\).*shares parameter 'a___weight' of shape \(3, 128\), but needs shape \(3, 3\)",
    ):
        mocha.Net("n", system, layers)
    assert not system.states_of(layers[1]), "a net that could not be built leaves nothing behind"
    mocha.Net("n", system, [nets.data(), nets.dense("data", "z", param_key="w", dim=2)])


def test_two_parameters_of_one_name_in_files(system):
    """A snapshot of the second net would hold one of them only."""
    mocha.Net("first", system, [nets.data(), nets.dense(top="a", param_key="shared")])
    layers = [nets.data(), nets.dense(top="b", param_key="shared"), nets.dense(top="a")]
    for order in (layers, layers[::-1]):
        with pytest.raises(TopologyError, match=r"in net 'n'.*'a___weight' in files, too.* Rename the layer 'a'"):
            mocha.Net("n", system, order)
    net = mocha.Net("n", system, [*layers[:2], nets.dense(top="c")])
    assert set(net.states) == {"a___weight", "a___bias", "c___weight", "c___bias"}


def test_a_net_that_cannot_be_built_closes_its_sources(system):
    opened = []

    class Watched(MemoryLayer):
        def open(self, seed):
            opened.append(super().open(seed))
            return opened[-1]

    data = Watched(name="data", batch_size=2, arrays=nets.rows(4), tops=("data", "label", "target"))
    with pytest.raises(UnknownNameError, match=r"Net 'n' has no blob 'y'. It has: data, label, target, x\."):
        mocha.Net("n", system, [data, nets.dense()], keep=["y"])
    assert opened[0].closed
    with pytest.raises(mocha.MochaError, match="expected keep to be a list of blob names"):
        mocha.Net("n", system, [data, nets.dense()], keep="x")


def test_an_initializer_that_fails_leaves_nothing_behind(system):
    """The layer's next net has parameters of its own, and not zeros that count as initialized."""

    class Moody(Initializer):
        fails = True

        def initialize(self, shape, random):
            if self.fails:
                raise RuntimeError("not today")
            return np.ones(shape)

    class Scale(Layer):
        initializer: Moody

        def build(self, b, x):
            return (b.param("scale", (3,), self.initializer),)

    moody = Moody()
    layers = [nets.data(), Scale(name="scale", initializer=moody, bottoms=["data"], tops=["y"])]
    with pytest.raises(RuntimeError, match="not today"):
        mocha.Net("n", system, layers)
    moody.fails = False
    assert mocha.Net("n", system, layers).parameters["scale"]["scale"].numpy().tolist() == [1, 1, 1]


def test_nets_without_anything_to_learn(system):
    with pytest.raises(TopologyError, match="Net 'n' cannot be trained: it has no loss layer"):
        SGD(parameters()).solve(mocha.Net("n", system, [nets.data(), nets.dense()]))
    net = mocha.Net("n", system, [nets.data(), nets.dense(), SquareLossLayer(bottoms=["x", "target"])])
    net.freeze("x")
    with pytest.raises(TopologyError, match="Net 'n' has nothing to learn"):
        SGD(parameters()).solve(net)
    with pytest.raises(UnknownNameError, match=r"Net 'n' has no layer 'y'\. It has: data, x, square-loss"):
        net.freeze("y")
    net.unfreeze()
    SGD(parameters()).solve(net)


def weights(system, *names):
    """Those of nets with layers of their own that have the same names."""
    return [mocha.Net(n, system, [nets.data(), nets.dense()]).parameters["x"]["weight"].numpy() for n in names]


def test_equal_seeds_give_equal_parameters(system):
    first, second = weights(system, "first", "second")
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        for found, expected in zip(weights(other, "a", "b"), (first, second), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg="the order of layers of one name decides")
    with mocha.System(Plain(), dtype="float64", seed=4) as other:
        assert not np.array_equal(first, *weights(other, "first"))


def test_members_of_an_ensemble_begin_with_different_parameters(system):
    members = weights(system, "first", "second", "third")
    assert len({array.tobytes() for array in members}) == 3
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        net = mocha.Net("n", other, [nets.data(), nets.dense(top="y"), nets.dense()])
        np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), members[0], err_msg="of another name")


def test_a_net_that_could_not_be_built_changes_no_later_parameters(system):
    bad = SquareLossLayer(name="loss", bottoms=["x", "label"])
    with pytest.raises(ShapeError):
        mocha.Net("bad", system, [nets.data(), nets.dense(), bad])
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        np.testing.assert_array_equal(*weights(system, "n"), *weights(other, "n"))
