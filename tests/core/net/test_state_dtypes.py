"""States of a dtype of their own, such as counters of whole numbers."""

import numpy as np
import pytest
from toys.carry import CountLayer
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.normal import Constant
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.train.snapshot import capture, restore


def test_a_counter_of_whole_numbers_is_exact_in_a_net_of_float32():
    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    begin = 2**53
    with mocha.System(Plain()) as system:
        counter = CountLayer(name="counter", begin=begin, bottoms=["x"], tops=["y"])
        layers = [data, counter, InnerProductLayer(name="w", output_dim=1, bottoms=["x"], tops=["z"])]
        net = mocha.Net("net", system, [*layers, SquareLossLayer(name="loss", bottoms=["z", "x"])])
        solver = SGD(parameters(max_iter=3))
        solver.solve(net)
        state = net.states["counter___count"]
        assert (state.numpy().dtype, int(state.numpy())) == (np.int64, begin + 3)
        snapshot = capture(solver, net)
        assert snapshot.parameters["counter___count"].dtype == np.int64
        state.set(7)
        assert (state.numpy().dtype, int(state.numpy())) == (np.int64, 7)
        restore(snapshot, SGD(parameters(max_iter=3)), net)
        assert int(state.numpy()) == begin + 3
        snapshot.parameters["counter___count"] = np.asarray(0.5)
        with pytest.raises(ShapeError, match=r"'counter___count'.*expected numbers that int64 holds, received 0\.5"):
            restore(snapshot, SGD(parameters(max_iter=3)), net)
        assert int(state.numpy()) == begin + 3


@pytest.mark.parametrize("number", [0.5, np.nan, np.inf, 2.0**63, -(2.0**64)])
def test_what_whole_numbers_do_not_hold_is_refused(number):
    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [data, CountLayer(name="counter", bottoms=["x"], tops=["y"])])
        with pytest.raises(ShapeError, match=r"'counter___count': expected numbers that int64 holds, received"):
            net.states["counter___count"].set(number)
        assert net.states["counter___count"].numpy() == 0
        with pytest.raises(ShapeError, match=r"expected numbers that int64 holds, received 0\.5"):
            mocha.Net("n", system, [data, CountLayer(name="counter", begin=0.5, bottoms=["x"], tops=["y"])])


@pytest.mark.parametrize("dtype", ["float16", "bool", "complex64", 7])
def test_a_dtype_that_no_state_has_is_refused(dtype):
    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    with mocha.System(Plain()) as system, pytest.raises(ConfigurationError, match="state 'count': expected a dtype of"):
        mocha.Net("net", system, [data, CountLayer(name="counter", dtype=dtype, bottoms=["x"], tops=["y"])])


def test_states_of_different_dtypes_are_not_shared():
    class Keyed(Layer):
        param_key: str = "same"
        dtype: str = "int64"

        def build(self, b, x):
            b.state("count", (), Constant(0), dtype=self.dtype)
            return ()

    data = MemoryLayer(name="data", batch_size=2, arrays=(np.ones((6, 1)),), tops=("x",))
    layers = [Keyed(name=dtype, dtype=dtype, bottoms=["x"]) for dtype in ("int64", "int32")]
    with mocha.System(Plain()) as system, pytest.raises(ShapeError, match="of dtype int64, but needs int32"):
        mocha.Net("net", system, [data, *layers])
