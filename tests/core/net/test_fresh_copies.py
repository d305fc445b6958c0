"""Nothing that was copied early is used after the original changed: rows, packed parameters, rates, multipliers."""

import threading

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.deferred import Deferred
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import DataLayer
from mocha_core.describe.source import Source
from mocha_core.errors import DataError
from mocha_core.graph.value import Spec
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.solver import Policy


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_rows_that_may_change_are_seen_as_they_are(name, prefetch):
    rows = np.zeros((12, 2))
    data = MemoryLayer(name="data", batch_size=4, arrays=[rows], tops=("x",), fixed=False, prefetch=prefetch)
    with mocha.System(BACKENDS[name]()) as system:
        net = mocha.Net("net", system, [data], keep=["x"])
        for number in (7, 8, 9):
            rows[...] = number
            net.forward()
            assert (net.blobs["x"].numpy() == number).all()
        rows[...] = 5
        net.forward_epoch()
        assert (net.blobs["x"].numpy() == 5).all()
        net.destroy()


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_second_solve_trains_on_the_rows_of_its_time(prefetch):
    """Two runs of two iterations on zeros and then on ones are those on two data sets."""

    def weights(between):
        rows = np.zeros((12, 4)), np.ones((12, 3))
        data = MemoryLayer(
            name="data", batch_size=3, arrays=rows, tops=("data", "target"), fixed=False, prefetch=prefetch
        )
        dense = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
        with mocha.System("cpu", dtype="float64", seed=1) as system:
            net = mocha.Net("net", system, [data, dense, SquareLossLayer(name="loss", bottoms=["x", "target"])])
            solver = SGD(parameters(max_iter=2))
            solver.solve(net)
            between(rows)
            solver.parameters = parameters(max_iter=4)
            solver.solve(net)
            result = net.parameters["x"]["weight"].numpy()
            net.destroy()
        return result

    assert not np.array_equal(weights(lambda rows: rows[0].fill(1)), weights(lambda rows: None))


def test_a_net_that_is_built_has_read_no_rows():
    """The data set goes to the device when a program first gathers from it, and only once."""
    read = []

    class Counted(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch = source.fetch
            source.fetch = lambda rows, epoch, out: (read.append(len(rows)), fetch(rows, epoch, out))[1]
            return source

    data = Counted(name="data", batch_size=5, arrays=nets.rows(), tops=("data", "label", "target"))
    with mocha.System(Deferred()) as system:
        net = mocha.Net("net", system, [data, *nets.body(), *nets.losses()])
        net.predict(nets.rows()[0], "scores")
        assert read == []
        net.forward()
        SGD(parameters(max_iter=3)).solve(net)
        assert read == [nets.ROWS]


def test_a_data_set_that_could_not_be_read_is_read_again():
    data = nets.data(broken_row=7)
    with mocha.System(Deferred()) as system:
        net = mocha.Net("net", system, [data, *nets.body(), *nets.losses()])
        for _ in range(2):
            with pytest.raises(mocha.MochaError, match="row 7 cannot be read"):
                net.forward()
        net.feeds["data"].source.broken_row = -1
        net.forward()
        np.testing.assert_allclose(net.blobs["data"].numpy(), nets.rows()[0][: nets.BATCH], rtol=1e-6)


class Noise(Source):
    """Rows that are drawn when they are fetched."""

    rows, specs = 8, (Spec((2,), "float32"),)

    def fetch(self, rows, epoch, out):
        out[0][...] = np.random.default_rng([epoch, int(rows[0])]).standard_normal((len(rows), 2))


class NoiseLayer(DataLayer):
    def open(self, seed):
        return Noise()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_source_that_draws_is_not_frozen(name):
    with mocha.System(BACKENDS[name]()) as system:
        net = mocha.Net("net", system, [NoiseLayer(name="data", tops=["x"], batch_size=4)], keep=["x"])
        seen = []
        for _ in range(4):
            net.forward()
            seen.append(net.blobs["x"].numpy().tobytes())
    assert len(set(seen)) == 4


def dense_net(system, name="net", layer=None, arrays=None):
    layer = layer or InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    data = (
        nets.data() if arrays is None else MemoryLayer(name="data", batch_size=6, arrays=arrays, tops=nets.data().tops)
    )
    return mocha.Net(name, system, [data, layer, SquareLossLayer(name="loss", bottoms=["x", "target"])])


def predicts_with_its_parameters(net):
    images = nets.rows(6)[0]
    weight, bias = (net.parameters["x"][key].numpy() for key in ("weight", "bias"))
    np.testing.assert_allclose(net.predict(images, "x"), images.reshape(6, -1) @ weight.T + bias, rtol=1e-9)


class Watched(Policy):
    """A learning rate that does something in the middle of a run."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, iteration):
        return self.rate


@pytest.mark.parametrize("ends", ["well", "with an exception"])
def test_what_is_packed_in_the_middle_of_a_run_is_packed_again_after_it(ends):
    """Another net of the layer predicts after the first of six iterations, as it would from another thread."""
    layer = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    with mocha.System(Blocked(), dtype="float64") as system:
        other = dense_net(system, "other", layer)

        class Between(MemoryLayer):
            def open(self, seed):
                source = super().open(seed)
                fetch, calls = source.fetch, []

                def fetching(rows, epoch, out):
                    calls.append(epoch)
                    if len(calls) == 2:
                        thread = threading.Thread(target=predicts_with_its_parameters, args=(other,))
                        thread.start()
                        thread.join()
                    if len(calls) == 3 and ends != "well":
                        raise OSError("gone")
                    fetch(rows, epoch, out)

                source.fetch = fetching
                return source

        data = Between(name="data", batch_size=6, arrays=nets.rows(), tops=nets.data().tops)
        net = mocha.Net("net", system, [data, layer, SquareLossLayer(name="loss", bottoms=["x", "target"])])
        solver = SGD(parameters(max_iter=6))
        if ends == "well":
            solver.solve(net)
        else:
            with pytest.raises(DataError, match="gone"):
                solver.solve(net)
        assert solver.state.iteration == (6 if ends == "well" else 2)
        predicts_with_its_parameters(other)


def test_changes_that_two_threads_make_at_once_are_both_counted():
    with mocha.System("cpu") as system:
        before = system.storage.version

        def change():
            for _ in range(2000):
                with system.storage.changing():
                    pass

        threads = [threading.Thread(target=change) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert system.storage.version == before + 4 * 2000 * 2


def test_a_policy_that_a_coffee_break_changes_counts_from_then_on():
    policy = Watched(0.25)
    rates = []

    class Halve(CoffeeBreak):
        def enjoy(self, solver, net):
            rates.append(solver.state.learning_rate)
            policy.rate /= 2

    with mocha.System("cpu") as system:
        solver = SGD(parameters(max_iter=6, lr_policy=policy))
        solver.add_coffee_break(Halve(), every_n_iter=2)
        solver.solve(dense_net(system))
    assert rates[1:] == [0.125, 0.0625, 0.03125]


@pytest.mark.parametrize("name", ["plain", "deferred"])
def test_a_multiplier_that_changes_between_two_runs_counts(name):
    with mocha.System(BACKENDS[name]()) as system:
        net = dense_net(system)
        solver = SGD(parameters(max_iter=2))
        solver.solve(net)
        for parameter in net.parameters["x"].values():
            parameter.multiplier = 0.0
        trained = net.parameters["x"]["weight"].numpy()
        solver = SGD(parameters(max_iter=4, momentum=0.0, regu_coef=0.0))
        solver.solve(net)
        assert np.array_equal(net.parameters["x"]["weight"].numpy(), trained)
        net.parameters["x"]["weight"].multiplier = 1.0
        solver.parameters = parameters(max_iter=6, momentum=0.0, regu_coef=0.0)
        solver.solve(net)
        assert not np.array_equal(net.parameters["x"]["weight"].numpy(), trained)
