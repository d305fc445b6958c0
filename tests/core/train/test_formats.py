"""Saving and loading parameters: names, shapes, and that nothing is written before all is checked."""

from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pytest
from toys import nets
from toys.carry import CountLayer, RecurrentLayer
from toys.inner_product import InnerProductLayer
from toys.plain import Plain

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.errors import ConfigurationError, FileError, ShapeError, UnknownNameError
from mocha_core.train.formats import Format


class InMemory(Format):
    """Files are entries of a dict."""

    files: ClassVar = {}

    def save_network(self, path, arrays):
        self.files[path.name] = {key: np.array(a) for key, a in arrays.items()}

    @contextmanager
    def open_network(self, path):
        if path.name not in self.files:
            raise FileError(f"'{path}' is missing")
        yield self.files[path.name]

    def save_snapshot(self, path, snapshot):
        raise NotImplementedError

    open_snapshot = save_snapshot


class Lazy:
    """An array that notes when it is read."""

    def __init__(self, array, read, fails=False):
        self.array, self.read, self.fails = array, read, fails
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        self.read.append(self)
        if self.fails:
            raise FileError("damaged")
        return self.array


@pytest.fixture(autouse=True)
def files(register):
    class Plugin:
        @hookimpl
        def mocha_register_formats(self, formats):
            formats.add(".toy", InMemory)

    register(Plugin(), "toy-format")
    InMemory.files = {}
    return InMemory.files


@pytest.fixture
def net():
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        yield mocha.Net("net", system, [nets.data(), *nets.body()])


def zero(net):
    for state in net.states.values():
        state.set(np.zeros(state.value.shape))


def test_everything_comes_back(net, files):
    before = {key: s.numpy() for key, s in net.states.items()}
    mocha.save_network("a.TOY", net)
    assert files["a.TOY"].keys() == before.keys()
    assert {"conv1___filter", "conv1___bias", "norm___variance"} <= before.keys()
    zero(net)
    mocha.load_network("a.TOY", net)
    for key, array in before.items():
        np.testing.assert_array_equal(net.states[key].numpy(), array)


def test_two_underscores_and_axes_of_size_one_are_read_too(net, files):
    mocha.save_network("a.toy", net)
    arrays = files["a.toy"]
    arrays["scores__weight"] = arrays.pop("scores___weight").reshape(1, 1, 3, 5)
    arrays["unknown___weight"] = np.zeros(3)
    zero(net)
    mocha.load_network("a.toy", net)
    np.testing.assert_array_equal(net.states["scores___weight"].numpy(), arrays["scores__weight"][0, 0])


def test_what_is_missing(net, files):
    mocha.save_network("a.toy", net)
    del files["a.toy"]["scores___bias"]
    with pytest.warns(UserWarning, match="No bias found for scores, use default initialization"):
        mocha.load_network("a.toy", net)
    del files["a.toy"]["scores___weight"]
    zero(net)
    with pytest.raises(FileError, match=r"'a.toy' has no parameter 'scores___weight' for net 'net'; .*strict=False"):
        mocha.load_network("a.toy", net)
    assert not net.states["conv1___filter"].numpy().any(), "nothing was written"
    with pytest.warns(UserWarning, match="found for scores, use default") as caught:
        mocha.load_network("a.toy", net, strict=False)
    assert len(caught) == 2
    assert net.states["conv1___filter"].numpy().any()


def test_another_shape(net, files):
    mocha.save_network("a.toy", net)
    files["a.toy"]["scores___weight"] = np.zeros((5, 3))
    zero(net)
    with pytest.raises(
        ShapeError,
        match=r"'a.toy', parameter 'scores___weight' of layer 'scores': expected shape \(3, 5\), received \(5, 3\)",
    ):
        mocha.load_network("a.toy", net)
    assert not net.states["conv1___filter"].numpy().any()


def test_nothing_is_read_before_all_shapes_fit_and_only_what_the_net_has(net, files):
    mocha.save_network("a.toy", net)
    read, arrays = [], files["a.toy"]
    lazy = {key: Lazy(array, read) for key, array in arrays.items()}
    files["a.toy"] = lazy | {"scores___weight": Lazy(np.zeros((5, 3)), read), "other___weight": Lazy(np.ones(1), read)}
    with pytest.raises(ShapeError):
        mocha.load_network("a.toy", net)
    assert read == []
    files["a.toy"]["scores___weight"] = lazy["scores___weight"]
    zero(net)
    mocha.load_network("a.toy", net)
    assert {id(array) for array in read} == {id(array) for array in lazy.values()}
    for key, array in arrays.items():
        np.testing.assert_array_equal(net.states[key].numpy(), array)


@pytest.mark.parametrize(
    ("bad", "error"), [(np.array(["a"] * 15).reshape(3, 5), ShapeError), (None, FileError)], ids=["strings", "damaged"]
)
def test_an_array_that_cannot_be_read_leaves_the_net_as_it_was(net, files, bad, error):
    mocha.save_network("a.toy", net)
    files["a.toy"]["scores___weight"] = Lazy(np.zeros((3, 5)), [], fails=True) if bad is None else bad
    zero(net)
    with pytest.raises(error):
        mocha.load_network("a.toy", net)
    assert not any(state.numpy().any() for state in net.states.values())


def test_another_ending(net):
    with pytest.raises(UnknownNameError, match=r"No format for 'a.txt': the ending '.txt' is unknown. Known: .*\.toy"):
        mocha.save_network("a.txt", net)
    with pytest.raises(FileError, match="missing"):
        mocha.load_network("b.toy", net)


def test_a_shared_layer_is_saved_under_the_name_of_its_first_net(files):
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    with mocha.System(Plain()) as system:
        for name in ("one", "two"):
            net = mocha.Net(name, system, [nets.data(), x])
        mocha.save_network("a.toy", net)
    assert list(files["a.toy"]) == ["x___weight", "x___bias"]


def test_rows_of_a_run_are_no_part_of_a_network(files):
    """They are neither saved nor asked for, and stay as they are."""
    layers = [nets.data(), RecurrentLayer(name="memory", bottoms=["target"], tops=["y"])]
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        net.forward()
        carried = net.states["memory___carried"].numpy()
        mocha.save_network("net.toy", net)
        assert set(files["net.toy"]) == {"memory___weight"}
        net.parameters["memory"]["weight"].set(np.zeros((3, 2)))
        mocha.load_network("net.toy", net)
        np.testing.assert_array_equal(net.parameters["memory"]["weight"].numpy(), files["net.toy"]["memory___weight"])
        np.testing.assert_array_equal(net.states["memory___carried"].numpy(), carried)


def test_numbers_that_a_counter_cannot_hold_are_refused(files):
    layers = [nets.data(), CountLayer(name="counter", bottoms=["target"], tops=["y"])]
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        net.forward()
        mocha.save_network("net.toy", net)
        assert files["net.toy"]["counter___count"].dtype == np.int64
        files["net.toy"]["counter___count"] = np.asarray(1.5)
        with pytest.raises(
            ShapeError, match=r"'net\.toy', parameter 'counter___count': expected numbers that int64 holds"
        ):
            mocha.load_network("net.toy", net)
        assert net.states["counter___count"].numpy() == 1


def test_a_net_in_the_place_of_the_path():
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [nets.data()])
        for function in (mocha.save_network, mocha.load_network):
            with pytest.raises(ConfigurationError, match="Expected a path such as"):
                function(net, "net.hdf5")
