"""What every backend does with steps between backward and the updates, such as those of several processes."""

from contextlib import nullcontext

import numpy as np
import pytest
from toys.exchange import Exchanging

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.compile.program import updates
from mocha_core.errors import DataError
from mocha_core.graph.plan import Section
from mocha_core.testing.backends import installed, open_any
from mocha_core.testing.inputs import distinct


@pytest.fixture
def sharing(register_plugin):
    """Registers an exchange as if another process had the same gradients; returns the statuses that it gets.

    The other process has a fault in its iteration number `fails_in`, counted from 1.
    """

    def register(fails_in=0):
        statuses = []

        def share(gradients, status):
            statuses.append(status)
            return [2 * gradient for gradient in gradients], 0 < fails_in <= len(statuses)

        register_plugin(Exchanging(lambda: share), "acme-sharing")
        return statuses

    return register


def net_on(system, labels=None):
    given = [distinct((24, 4)), np.arange(24) % 3 if labels is None else labels]
    data = layers.MemoryDataLayer(name="data", data=given, batch_size=4, tops=["x", "label"])
    ip = layers.InnerProductLayer(name="ip", output_dim=3, bottoms=["x"], tops=["y"])
    return mocha.Net("net", system, [data, ip, layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"])])


def sgd(max_iter, lr_policy=0.1, **options):
    return solvers.SGD(mocha.SolverParameters(max_iter=max_iter, lr_policy=lr_policy, regu_coef=0.0, **options))


def contents(net):
    return {key: state.numpy() for key, state in net.states.items()}


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_runs_once_per_iteration_after_the_minibatches(backend, accumulate, sharing):
    with mocha.System(open_any(backend), dtype="float64", seed=3) as system:
        net = net_on(system)
        sgd(5, 0.2, accumulate=accumulate).solve(net)
        expected = contents(net)
    statuses = sharing()
    with mocha.System(open_any(backend), dtype="float64", seed=3) as system:
        net, solver = net_on(system), sgd(5, 0.1, accumulate=accumulate)
        solver.solve(net)
        for key, array in contents(net).items():
            np.testing.assert_allclose(array, expected[key], rtol=1e-12, atol=1e-15)
        program = net.runs.training_program(solver)
        assert {bound.step.section for bound in program.bound if updates(bound)} == {Section.UPDATE}
    assert statuses == [0] * 5


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_runs_in_the_iteration_that_has_a_fault_and_sees_it(backend, accumulate, sharing):
    """The fault is in the fourth minibatch. No other process waits for this one for ever."""
    labels = np.arange(24) % 3
    labels[13] = 9
    statuses = sharing()
    with mocha.System(open_any(backend), seed=3) as system:
        net, solver = net_on(system, labels), sgd(6, accumulate=accumulate)
        done = 3 // accumulate
        with pytest.raises(DataError, match="label 9"):
            solver.solve(net)
        assert solver.state.iteration == done
        assert [status == 0 for status in statuses] == [True] * done + [False]
        assert not net.runs.half_updated


@pytest.mark.parametrize("backend", installed())
def test_a_fault_that_it_merges_stops_the_iteration_before_its_updates(backend, sharing):
    statuses = sharing(fails_in=3)
    found = []
    for iterations in (2, 6):
        statuses.clear()
        with mocha.System(open_any(backend), dtype="float64", seed=3) as system:
            net, solver = net_on(system), sgd(iterations)
            with nullcontext() if iterations == 2 else pytest.raises(DataError, match="another process has a fault"):
                solver.solve(net)
            assert solver.state.iteration == 2
            assert len(statuses) == min(iterations, 3)
            assert not net.runs.half_updated
            found.append(contents(net))
    for key, array in found[0].items():
        assert array.tobytes() == found[1][key].tobytes(), key
