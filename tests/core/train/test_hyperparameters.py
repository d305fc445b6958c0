"""What a solver declares besides the learning rate: it is checked, scheduled, seen in its state and in snapshots."""

from dataclasses import replace

import numpy as np
import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import ConfigurationError, SnapshotError
from mocha_core.train.snapshot import capture, restore
from mocha_core.train.solver import Hyperparameter, Policy, Solver
from mocha_core.train.update import UpdateOp


class DampedUpdate(UpdateOp):
    name = "toy.damped"
    cells = ("damping", "learning_rate", "gain")

    def rule(self, xp, w, g, damping, rate, gain):
        return (gain * rate * g + damping * w,)


class Damped(Solver):
    update_op = DampedUpdate
    hyperparameters = {"damping": Hyperparameter(0.25, high=1.0), "gain": Hyperparameter(2.0, low=1.0)}


class Steepest(Solver):
    update_op = DampedUpdate


class Halving(Policy):
    def __call__(self, iteration):
        return 0.5**iteration


def net_on(system):
    dense = InnerProductLayer(name="y", output_dim=3, bottoms=["data"], tops=["y"])
    layers = [nets.data(), dense, SquareLossLayer(name="loss", bottoms=["y", "target"])]
    return mocha.Net("net", system, layers)


def told(**options):
    return mocha.SolverParameters(**({"max_iter": 3, "lr_policy": 0.0} | options))


def test_a_policy_or_a_number_fills_the_cell_of_its_name():
    solver = Damped(told(lr_policy=0.1, damping=Halving()))
    columns = {name: column.tolist() for name, column in solver.schedule(1, 3).items()}
    assert columns == {"learning_rate": [0.1] * 3, "damping": [0.5, 0.25, 0.125], "gain": [2.0] * 3}


def test_the_rule_reads_them_and_the_state_shows_those_of_the_last_update():
    with mocha.System(Plain(), dtype="float64") as system:
        net, solver = net_on(system), Damped(told(damping=Halving(), max_iter=1))
        assert np.isnan(list(solver.state.cells.values())).all()
        net.parameters["y"]["bias"].set(np.ones(3))
        solver.parameters = told(damping=0.25, max_iter=2)
        solver.solve(net)
        np.testing.assert_array_equal(net.parameters["y"]["bias"].numpy(), np.full(3, 0.75**2))
        assert solver.state.cells == {"learning_rate": 0.0, "damping": 0.25, "gain": 2.0}
        assert solver.state.learning_rate == 0.0


def test_they_are_facts_of_snapshots():
    with mocha.System(Plain()) as system:
        net, solver = net_on(system), Damped(told(damping=0.125))
        solver.solve(net)
        snapshot = capture(solver, net)
        assert {name: snapshot.facts[name] for name in ("damping", "gain")} == {"damping": 0.125, "gain": 2.0}
        other = Damped(told(damping=0.125))
        restore(snapshot, other, net)
        assert (other.state.iteration, other.state.cells) == (3, solver.state.cells)


def test_a_snapshot_of_another_solver_is_named_before_its_cells():
    with mocha.System(Plain()) as system:
        net, solver = net_on(system), SGD(told())
        solver.solve(net)
        with pytest.raises(SnapshotError, match="is of solver SGD, this is Damped"):
            restore(capture(solver, net), Damped(told()), net)


@pytest.mark.parametrize(
    ("solver", "options", "message"),
    [
        (SGD, {"momentun": 0.9}, r"SGD has no hyperparameter 'momentun'. Did you mean 'momentum'\?"),
        (SGD, {"regu_coeff": 0.9}, r"SGD has no hyperparameter 'regu_coeff'. Did you mean 'regu_coef'\?"),
        (SGD, {"damping": 0.9}, "Its hyperparameters: momentum. Leave damping=0.9 out of SolverParameters"),
        (Steepest, {"momentum": 0.9}, "Steepest has no hyperparameter 'momentum'. It has no hyperparameters. Leave"),
        (SGD, {"momentum": 2}, r"SGD: expected momentum to be a finite number in \[0, 1\], received 2"),
        (SGD, {"momentum": None}, "SGD: expected momentum to be a finite number"),
        (Damped, {"gain": 0.5}, r"Damped: expected gain to be a finite number in \[1, inf\], received 0.5"),
    ],
)
def test_what_a_solver_does_not_know_is_refused(solver, options, message):
    with pytest.raises(ConfigurationError, match=message):
        solver(told(**options))
    changed = solver(told())
    with pytest.raises(ConfigurationError, match=message):
        changed.parameters = told(**options)
    assert changed.parameters == told()


def test_parameters_are_replaced_one_by_one():
    given = told(momentum=0.5, clip_norm=1.0)
    changed = replace(given, max_iter=7, momentum=0.75)
    assert changed == told(max_iter=7, clip_norm=1.0, momentum=0.75)
    assert given == told(momentum=0.5, clip_norm=1.0)
    assert hash(given) == hash(told(momentum=0.5, clip_norm=1.0))
    with pytest.raises(AttributeError):
        given.max_iter = 8
