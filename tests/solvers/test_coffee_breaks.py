"""When coffee breaks are taken, and what the standard ones say."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from mocha_solvers_std import SGD, LRPolicy, MomPolicy, TrainingSummary, ValidationPerformance

import mocha_core as mocha
from mocha_core import coffee, solvers
from mocha_core.errors import ConfigurationError
from mocha_core.train.coffee_break import CoffeeBreak


class Diary(CoffeeBreak):
    """Notes what happens to it."""

    def __init__(self):
        self.notes = []

    def init(self, solver, net):
        self.notes.append("init")

    def enjoy(self, solver, net):
        self.notes.append(solver.state.iteration)

    def destroy(self, solver, net):
        self.notes.append("destroy")


def test_the_namespaces_have_the_plugins_objects():
    assert (solvers.SGD, solvers.LRPolicy, solvers.MomPolicy) == (SGD, LRPolicy, MomPolicy)
    assert coffee.TrainingSummary is TrainingSummary
    assert set(dir(coffee)) >= {"ProgressBar", "Snapshot", "TrainingSummary", "ValidationPerformance"}


def test_registering_imports_neither_numpy_nor_tqdm():
    program = "import sys, mocha_solvers_std._plugin as p; sys.exit(any(m in sys.modules for m in ('numpy', 'tqdm')))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("every", "iterations"),
    [
        ({"every_n_iter": 1}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"every_n_iter": 3}, [0, 3, 6, 7]),
        ({"every_n_iter": 7}, [0, 7]),
        ({"every_n_iter": 100}, [0, 7]),
        ({"every_n_epoch": 1}, [0, 3, 5, 7]),  # 10 rows, 4 at a time: epochs end in iterations 3, 5, 8
        ({"every_n_epoch": 2}, [0, 5, 7]),
    ],
)
def test_breaks_are_at_0_at_multiples_and_at_the_end(system, toy, every, iterations):
    diary, solver = Diary(), SGD(toy.parameters(7))
    solver.add_coffee_break(diary, **every)
    solver.solve(toy.regression(system, rows=10, batch=4).net)
    assert diary.notes == ["init", *iterations, "destroy"]


def test_solving_again_takes_no_break_twice(system, toy):
    diary, solver, part = Diary(), SGD(toy.parameters(4)), toy.regression(system)
    solver.add_coffee_break(diary, every_n_iter=2)
    solver.solve(part.net)
    solver.parameters = toy.parameters(7)
    solver.solve(part.net)
    assert diary.notes == ["init", 0, 2, 4, "destroy", "init", 6, 7, "destroy"]


def test_breaks_are_closed_when_training_fails(system, toy):
    class Fails(CoffeeBreak):
        def enjoy(self, solver, net):
            raise ZeroDivisionError

    diary, solver = Diary(), SGD(toy.parameters(4))
    solver.add_coffee_break(diary, every_n_iter=1)
    solver.add_coffee_break(Fails(), every_n_iter=2)
    with pytest.raises(ZeroDivisionError):
        solver.solve(toy.regression(system).net)
    assert diary.notes == ["init", 0, "destroy"]


@pytest.mark.parametrize("every", [{}, {"every_n_iter": 2, "every_n_epoch": 1}, {"every_n_iter": -1}])
def test_an_interval_is_needed(toy, every):
    with pytest.raises(ConfigurationError, match=r"Coffee break TrainingSummary: expected"):
        SGD(toy.parameters()).add_coffee_break(TrainingSummary(), **every)


def test_what_is_no_coffee_break(toy):
    with pytest.raises(ConfigurationError, match=r"SGD: expected coffee to be a CoffeeBreak such as"):
        SGD(toy.parameters()).add_coffee_break(TrainingSummary, every_n_iter=1)


def test_the_training_summary_shows_the_objective_before_the_update(system, toy, messages):
    part, solver, events = toy.regression(system, rows=10, batch=4), SGD(toy.parameters(3)), []
    w = part.net.parameters["fc"]["weight"].numpy()
    difference = part.x[:4] @ w.T - part.t[:4]
    solver.add_coffee_break(TrainingSummary(), every_n_iter=1)
    solver.listeners.append(events.append)
    solver.solve(part.net)
    lines = messages()
    assert lines[0] == f"000001 :: TRAIN obj-val = {(difference**2).sum() / 8:.8f}"
    assert len(lines) == 3
    assert re.fullmatch(r"000003 :: TRAIN obj-val = \d\.\d{8}", lines[2])
    assert events[0] == {
        "event": "training",
        "iteration": 1,
        "objective": pytest.approx((difference**2).sum() / 8),
        "learning_rate": 0.1,
    }


def test_staged_policies_report_their_stages(system, toy, messages):
    solver = SGD(
        toy.parameters(
            8, lr_policy=LRPolicy.Staged((4, 0.1), (4, 0.01), (1, 0.001)), momentum=MomPolicy.Staged((3, 0.5), (1, 0.6))
        )
    )
    solver.add_coffee_break(TrainingSummary(), every_n_iter=2)
    solver.solve(toy.regression(system).net)
    lines = [line if "Staged" in line else int(line[:6]) for line in messages()]
    assert lines == [
        2,
        4,
        "Staged learning rate policy: switching to stage 2",
        "Staged momentum policy: switching to stage 2",
        6,
        8,
    ]


def test_validation_logs_mochas_text_and_publishes(system, toy, messages):
    part, solver, events = toy.regression(system, rows=10, batch=4), SGD(toy.parameters(12)), []
    test_net = toy.accuracy_net(system, part)
    solver.add_coffee_break(ValidationPerformance(test_net), every_n_iter=12)
    solver.listeners.append(events.append)
    rates = []
    for iteration in (0, 12):
        if iteration:
            solver.solve(part.net)
        w = part.net.parameters["fc"]["weight"].numpy()
        rates.append((np.sign(part.x @ w.T) == np.sign(part.t)).all(axis=1).mean())
    assert rates[0] != rates[1], "nothing was learned that this test could see"
    block = [
        "",
        "## Performance on Validation Set",
        "---------------------------------------------------------",
        "  Accuracy (avg over 10) = {:.4f}%",
        "---------------------------------------------------------",
        "",
    ]
    assert messages() == [line.format(100 * rate) for rate in rates for line in block]
    assert events == [
        {"event": "validation", "iteration": i, "statistics": {"test-accuracy-accuracy": rate}}
        for i, rate in zip((0, 12), rates, strict=True)
    ]


def test_validation_leaves_the_test_net_where_it_was(system, toy):
    part = toy.regression(system, rows=10, batch=4)
    test_net = toy.accuracy_net(system, part)
    test_net.forward()
    second = test_net.feeds["test-data"].cursor
    solver = SGD(toy.parameters(2))
    solver.add_coffee_break(ValidationPerformance(test_net), every_n_iter=1)
    solver.solve(part.net)
    assert test_net.feeds["test-data"].cursor == second == 4
    test_net.forward()


def test_validation_does_not_change_the_training(toy):
    weights = []
    for validates in (False, True):
        with mocha.System(toy.NumPy(), dtype="float64", seed=3) as system:
            part, solver = toy.regression(system), SGD(toy.parameters(5))
            if validates:
                solver.add_coffee_break(ValidationPerformance(toy.accuracy_net(system, part)), every_n_iter=1)
            solver.solve(part.net)
            weights.append(part.net.parameters["fc"]["weight"].numpy())
    assert (weights[0] == weights[1]).all()


def test_a_net_that_measures_nothing_cannot_validate(system, toy):
    net = toy.regression(system).net
    with pytest.raises(ConfigurationError, match=r"no layer of net 'train' measures anything. Add .* AccuracyL"):
        ValidationPerformance(net)
    with pytest.raises(ConfigurationError, match=r"expected test_net to be a Net such as"):
        ValidationPerformance("test")


def test_a_test_net_that_shares_nothing_with_the_trained_one_is_an_error(system, toy):
    trained, copied = toy.regression(system), toy.regression(system)
    solver = SGD(toy.parameters(4))
    solver.add_coffee_break(ValidationPerformance(toy.accuracy_net(system, copied)), every_n_iter=2)
    with pytest.raises(ConfigurationError, match=r"net 'test' shares no parameter with net 'train'.*the same layer"):
        solver.solve(trained.net)


def test_parameters_of_the_test_net_that_nobody_trains_are_a_warning(system, toy, messages):
    trained, copied = toy.regression(system), toy.regression(system)
    data = toy.Rows(name="test-data", arrays=(trained.x, trained.t), batch_size=4)
    stray = dataclasses.replace(copied.layer, name="stray", bottoms=["y"], tops=["z"])
    measure = dataclasses.replace(toy.accuracy_net(system, trained).layers[-1], bottoms=["z", "label"])
    test_net = mocha.Net("test", system, [data, trained.layer, stray, measure])
    solver = SGD(toy.parameters(4))
    solver.add_coffee_break(ValidationPerformance(test_net), every_n_iter=4)
    solver.solve(trained.net)
    assert [line for line in messages() if "stray___weight" in line] == [
        "Net 'train' does not train stray___weight of net 'test'. Put the same layer objects into both nets to share "
        "their parameters."
    ]
