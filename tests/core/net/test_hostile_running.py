"""Running a net in ways that must not give wrong results in silence."""

import copy
import gc
import threading

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.plugin import Folding
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import ConfigurationError, DataError, MochaError, NonFiniteError, ShapeError, StateError


def regression(system, rows=20, batch=6, **options):
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    return mocha.Net("net", system, [nets.data(batch, rows, **options), x, SquareLossLayer(bottoms=["x", "target"])])


def table(name, top, array, batch):
    return MemoryLayer(name=name, tops=[top], arrays=[array], batch_size=batch)


def test_data_layers_of_different_batch_sizes(system):
    ones = np.ones((8, 3))
    small = MemoryLayer(name="small", tops=["p", "q"], arrays=[ones, 3 * ones], batch_size=2)
    layers = [table("big", "x", np.ones((8, 4)), 4), small, SquareLossLayer(name="loss", bottoms=["p", "q"])]
    with pytest.raises((ShapeError, ConfigurationError), match=r"batch_size.*2.*4|batch_size.*4.*2"):
        mocha.Net("net", system, layers)


def test_data_layers_of_different_lengths(system):
    layers = [
        table("long", "p", np.arange(8.0)[:, None], 4),
        table("short", "q", np.arange(6.0)[:, None], 4),
        SquareLossLayer(name="loss", bottoms=["p", "q"]),
    ]
    with pytest.raises(ShapeError, match=r"same number of rows in all data layers.*'long' 8, 'short' 6"):
        mocha.Net("net", system, layers)


def test_a_phase_that_is_none(system):
    with pytest.raises(MochaError, match="tset"):
        regression(system).forward("tset")


def test_a_gradient_before_backward(system):
    net = regression(system)
    net.forward()
    with pytest.raises(StateError, match="backward"):
        net.gradient("x", "weight")


def test_an_objective_that_is_not_finite_stops_training(system):
    arrays = list(nets.rows(20))
    arrays[0] = np.where(np.arange(20)[:, None, None, None] == 9, np.nan, arrays[0])
    data = MemoryLayer(name="data", batch_size=6, arrays=arrays, tops=("data", "label", "target"))
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    net = mocha.Net("net", system, [data, x, SquareLossLayer(bottoms=["x", "target"])])
    expected = (
        r"'net': the objective is not finite in iteration 1. Layer 'data': blob 'data', row 9 of its source, holds n"
    )
    with pytest.raises(NonFiniteError, match=expected):
        SGD(parameters(max_iter=3)).solve(net)
    assert net.feeds["data"].cursor == 6


def test_a_copy_of_a_net_is_refused(system):
    with pytest.raises(MochaError, match="copied"):
        copy.deepcopy(regression(system))


def test_a_net_that_nobody_holds_takes_its_threads_along():
    before = set(threading.enumerate())
    net = regression(mocha.System(Plain()), prefetch=True)
    net.forward()
    (thread,) = set(threading.enumerate()) - before
    del net
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


def labelled(system, labels):
    arrays = [*nets.rows(len(labels))[:1], np.asarray(labels)]
    data = MemoryLayer(name="data", batch_size=4, arrays=arrays, tops=("data", "label"))
    x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    return mocha.Net("net", system, [data, x, SoftmaxLossLayer(name="loss", bottoms=["x", "label"])])


def test_no_gradient_of_a_minibatch_that_failed(system):
    net = labelled(system, [0, 1, 2, 0, 9, 9, 9, 9])
    net.forward()
    net.backward()
    with pytest.raises(DataError, match="received 9"):
        SGD(parameters(max_iter=1)).solve(net)
    with pytest.raises(StateError, match="no gradient"):
        net.gradient("x", "weight")
    with pytest.raises(DataError, match="received 9"):
        net.forward()
    with pytest.raises(StateError, match="forward"):
        net.backward()
    np.testing.assert_array_equal(net.blobs["label"].numpy().ravel(), [9] * 4)


def test_no_old_gradient_where_the_update_was_folded_into_it(register):
    register(Folding(), "mocha-folding")
    with mocha.System(BACKENDS["blocked"](), dtype="float64", seed=3) as system:
        net = regression(system)
        net.forward()
        net.backward()
        solver = SGD(parameters(max_iter=3))
        solver.solve(net)
        assert "toy.dot+sgd" in {use.op for use in net.runs.training_program(solver).kernels()}
        with pytest.raises(StateError, match=r"no gradient of 'x___weight'.*net.backward"):
            net.gradient("x", "weight")
