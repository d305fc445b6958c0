"""States by row: what a recurrent layer carries from minibatch to minibatch."""

import numpy as np
import pytest
from toys.backends import BACKENDS
from toys.carry import RecurrentLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.graph.plan import Phase
from mocha_core.train.snapshot import capture, restore

BATCH, ROWS, FEATURES, UNITS = 4, 24, 3, 2
X = np.random.default_rng(4).standard_normal((ROWS, FEATURES))


def recurrent(system, batch=BATCH):
    data = MemoryLayer(name="data", batch_size=batch, arrays=(X, X[:, :UNITS]), tops=("x", "target"))
    memory = RecurrentLayer(name="memory", units=UNITS, bottoms=["x"], tops=["y"])
    return mocha.Net("net", system, [data, memory, SquareLossLayer(name="loss", bottoms=["y", "target"])])


def by_hand(x, w, h):
    """The rows of minibatches, one after the other, from the carried h on."""
    for minibatch in x:
        h = np.tanh(minibatch @ w + h)
        yield h


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_carried_from_minibatch_to_minibatch(backend):
    """Against a loop: forward, and truncated back-propagation of the squares of y - target."""
    minibatches = X.reshape(-1, BATCH, FEATURES)
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = recurrent(system)
        w = net.parameters["memory"]["weight"].numpy()
        before = np.full((BATCH, UNITS), 0.25)
        for minibatch, y in zip(minibatches, by_hand(minibatches, w, before), strict=True):
            net.forward()
            np.testing.assert_allclose(net.blobs["y"].numpy(), y, rtol=1e-12)
            np.testing.assert_allclose(net.states["memory___carried"].numpy(), y, rtol=1e-12)
            net.backward()
            d = net.blobs["y"].numpy() - minibatch[:, :UNITS]
            expected = minibatch.T @ (d * (1 - y * y))
            gradient = net.gradient("memory", "weight")
            ratio = gradient / expected
            np.testing.assert_allclose(ratio, np.full(ratio.shape, ratio[0, 0]), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_accumulated_minibatches_carry_in_order(backend):
    """Without a learning rate: three iterations of two minibatches see what six minibatches see."""
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = recurrent(system)
        w = net.parameters["memory"]["weight"].numpy()
        *_, expected = by_hand(X.reshape(-1, BATCH, FEATURES), w, 0.25)
        solver = SGD(parameters(max_iter=3, accumulate=2, lr_policy=0.0))
        solver.solve(net)
        np.testing.assert_allclose(net.states["memory___carried"].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_in_the_test_phase_starts_its_rows_anew(backend):
    """Each minibatch of `predict`, of any size; `forward_epoch` carries them on. Training finds its rows as before."""
    with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
        net = recurrent(system)
        net.forward()
        carried, w = net.states["memory___carried"].numpy(), net.parameters["memory"]["weight"].numpy()
        first = np.tanh(X @ w + 0.25)
        for rows, size in ((BATCH, None), (1, None), (7, 3), (ROWS, ROWS), (2, 1)):
            for _ in range(2):
                found = net.predict(X[:rows], "y", batch_size=size)
                np.testing.assert_allclose(found, first[:rows], rtol=1e-12)
        for _ in range(2):
            ys = np.stack(list(by_hand(X.reshape(-1, BATCH, FEATURES), w, 0.25)))
            loss = net.forward_epoch()
            residual = ys - X.reshape(-1, BATCH, FEATURES)[:, :, :UNITS]
            assert loss == pytest.approx(float((residual**2).sum()) / ROWS / 2, rel=1e-9)
        net.forward(Phase.TEST)
        np.testing.assert_allclose(net.blobs["y"].numpy(), first[BATCH : 2 * BATCH], rtol=1e-12)
        np.testing.assert_array_equal(net.states["memory___carried"].numpy(), carried)


def test_nets_of_one_layer_have_rows_of_their_own():
    """A test net may have another batch size, and another training net other data."""
    memory = RecurrentLayer(name="memory", units=UNITS, bottoms=["x"], tops=["y"])
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        nets = []
        for batch in (4, 6, 4):
            data = MemoryLayer(name="data", batch_size=batch, arrays=(X, X[:, :UNITS]), tops=("x", "target"))
            nets.append(mocha.Net(f"of {len(nets)}", system, [data, memory]))
        assert [net.states["memory___carried"].value.shape for net in nets] == [(4, 2), (6, 2), (4, 2)]
        assert len({id(net.states["memory___weight"]) for net in nets}) == 1
        nets[0].forward()
        np.testing.assert_array_equal(nets[2].states["memory___carried"].numpy(), np.full((4, 2), 0.25))


def test_two_layers_of_one_key_have_rows_of_their_own():
    data = MemoryLayer(name="data", batch_size=BATCH, arrays=(X,), tops=("x",))
    layers = [RecurrentLayer(name=n, param_key="k", units=3, bottoms=["x"], tops=[f"y {n}"]) for n in "ab"]
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [data, *layers])
        assert set(net.states) == {"a___weight", "a___carried", "b___carried"}


def test_rows_are_saved_in_snapshots():
    """With another batch size they begin anew, as they do where only parameters are loaded."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = recurrent(system)
        solver = SGD(parameters(max_iter=3))
        solver.solve(net)
        snapshot, rows = capture(solver, net), net.states["memory___carried"].numpy()
        for batch, whole, expected in ((BATCH, True, rows), (BATCH, False, 0.25), (3, True, 0.25)):
            other = recurrent(system, batch)
            carried = other.states["memory___carried"]
            carried.set(np.full(carried.value.shape, 9.0))
            restore(snapshot, SGD(parameters(max_iter=3)), other, solver_state=whole)
            np.testing.assert_array_equal(carried.numpy(), np.broadcast_to(expected, carried.value.shape))
