"""`net.profile`: true iterations, timed step by step, that change nothing."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.graph.plan import Section


@pytest.fixture(params=sorted(BACKENDS))
def net(request):
    with mocha.System(BACKENDS[request.param](), dtype="float64", seed=3) as system:
        yield mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()])


def everything(net, solver):
    memories = {key: net.system.read(value) for key, value in solver.memories(net).items()}
    statistics = {name: np.nan_to_num(value) for name, value in net.statistics().items()}
    return net.states.copy() | memories | statistics | {"cursor": net.feeds.first.cursor, "epoch": net.epoch}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_profile_of_training_times_every_step_and_changes_nothing(net, accumulate):
    solver = SGD(parameters(max_iter=3, accumulate=accumulate))
    solver.solve(net)
    before = everything(net, solver)
    rows = net.profile(4, solver)
    assert {row.section for row in rows} >= {Section.FORWARD, Section.BACKWARD}
    assert {row.layer for row in rows} >= {"conv1", "tied1", "loss"}
    assert all(row.seconds > 0 for row in rows)
    after = everything(net, solver)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value, err_msg=key)
    assert solver.state.iteration == 3


def test_training_goes_on_after_a_profile_as_without(net):
    seen = []
    first = net.states.copy()
    for profiles in (False, True):
        net.states.load(first)
        net.feeds.first.seek(0)
        solver = SGD(parameters(max_iter=2))
        if profiles:
            net.profile(2, solver)
        solver.solve(net)
        seen.append(net.states.copy())
    for key, array in seen[0].items():
        np.testing.assert_array_equal(seen[1][key], array, err_msg=key)


def test_a_profile_without_a_solver_is_of_forward_and_backward(net):
    rows = net.profile(2)
    assert [row.section for row in rows] == sorted((row.section for row in rows), key=list(Section).index)
    assert {row.section for row in rows} == {Section.FORWARD, Section.BACKWARD}
    text = str(rows)
    assert text.splitlines()[0].split() == ["layer", "op", "section", "kernel", "ms"]
    assert text.endswith(f"{1000 * rows.seconds:.4f} ms in all")
    assert repr(rows) == text


def test_a_profile_runs_over_minibatches_that_come_next():
    """As many as it is told, after one that is not timed, with all their rows."""
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()])
        solver = SGD(parameters(max_iter=1))
        counted = []
        cells = net.runs.training_program(solver).cells
        fetch = net.feeds.first.source.fetch
        valid = cells["valid_rows"]

        def counting(rows, epoch, out):
            counted.append((list(rows), int(valid)))
            fetch(rows, epoch, out)

        net.feeds.first.source.fetch = counting
        net.feeds.first.seek(6)
        net.profile(2, solver)
        assert counted == [([*range(6, 12)], 6), ([*range(12, 18)], 6), ([18, 19], 6), ([0, 1, 2, 3], 6)]
        with pytest.raises(mocha.MochaError, match="expected n to be an integer >= 1, received 0"):
            net.profile(0)


def test_a_profile_does_not_make_a_net_whole(net):
    solver = SGD(parameters(max_iter=1))
    net.runs.half_updated = True
    net.profile(1, solver)
    assert net.runs.half_updated, "some parameters are still one update ahead of the others"
