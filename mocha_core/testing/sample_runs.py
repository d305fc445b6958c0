"""Runs of the sample net, for comparisons between backends. Each returns its results as arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mocha_core.describe.parameter import Parameter
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Phase, Section
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing import sample_net
from mocha_core.testing.kit_solver import Descent
from mocha_core.train.solver import Policy, Solver, SolverParameters, SolverState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.layer import Layer

Seen: TypeAlias = "dict[str, NDArray[Any]]"
#: A function that makes a solver with the options `parameters`, changed by its keywords.
Make: TypeAlias = Callable[..., Solver]
Work: TypeAlias = Callable[[System, Make], Seen]


class Falling(Policy):
    """A learning rate that differs in every iteration."""

    def __call__(self, iteration: int) -> float:
        return 0.04 / (1 + iteration)


def net_of(system: System, layers: Sequence[Layer] | None = None, *, name: str = "train", **data: Any) -> Net:
    """The sample net, with its own data layer."""
    body = sample_net.body() if layers is None else layers
    return Net(name, system, [sample_net.data(**data), *body, *sample_net.heads()])


def parameters(**changes: Any) -> SolverParameters:
    """The options of solvers."""
    return replace(SolverParameters(max_iter=5, lr_policy=Falling(), regu_coef=0.01), **changes)


def descent(**changes: Any) -> Solver:
    """The kit's own solver."""
    return Descent(parameters(**changes))


def train(net: Net, make: Make = descent, **changes: Any) -> Solver:
    """Solve, and return the solver."""
    solver = make(**changes)
    solver.solve(net)
    return solver


def train_on(net: Net, solver: Solver, max_iter: int) -> None:
    """Solve until another `max_iter`."""
    solver.parameters = replace(solver.parameters, max_iter=max_iter)
    solver.solve(net)


def contents(net: Net, solver: Solver | None = None) -> Seen:
    """Parameters and states, and the solver's slots and last objective."""
    seen = {key: state.numpy() for key, state in net.states.items()}
    if solver is not None:
        seen |= {key: net.system.read(value) for key, value in solver.memories(net).items()}
        seen["(objective)"] = np.asarray(solver.state.objective)
    return seen


def lasting(net: Net, solver: Solver) -> Seen:
    """All that outlives a minibatch: `contents`, the sums of the statistics, the cursors, and the solver's state."""
    seen = contents(net, solver) | state(solver.state)
    seen |= {f"({s.layer}-{s.key})": net.system.read(s.total) for s in net.plan.statistics}
    return seen | {f"({name})": np.asarray(feed.cursor) for name, feed in net.feeds.items()}


def assert_same_bytes(expected: Seen, found: Seen) -> None:
    """Raise `AssertionError` unless the results of two runs have the same bits."""
    if expected.keys() != found.keys():
        raise AssertionError(f"expected {', '.join(expected)}, received {', '.join(found)}.")
    different = [name for name, array in expected.items() if array.tobytes() != found[name].tobytes()]
    if different:
        raise AssertionError(f"{', '.join(different)}: expected the same bits, received others.")


def gradients(net: Net) -> Seen:
    """The gradients of all parameters that have one, after a backward run."""
    computed = net.runs.last_program().plan.gradients
    items = [(p, g) for g in net.parameters.values() for p in g.values() if p.value in computed]
    return {f"d {p.key}": net.gradient(p.layer, p.name) for p, _ in items}


def run_rows(net: Net, valid_rows: int) -> NDArray[Any]:
    """Run a minibatch, of which only the first rows count, forward and backward; returns the objective."""
    net.forward()
    for feed in net.feeds.values():
        feed.seek(0)
        feed.begin(wrap=True)
    cells = {Cell.VALID_ROWS: valid_rows, Cell.ITERATION: 0, Cell.FIRST_ROW: 0}
    program = net.runs.last_program()
    program.run(Section.FORWARD, {name: np.asarray([number]) for name, number in cells.items()})
    objective = program.objectives
    net.backward()
    return objective


def forward_and_backward(system: System, make: Make) -> Seen:
    """Run two minibatches; return every blob in both phases, and all gradients."""
    net = net_of(system)
    seen: Seen = {}
    for turn in range(2):
        seen[f"objective {turn}"] = np.asarray(net.forward())
        net.backward()
        seen |= {f"{name} {turn}": blob.numpy() for name, blob in net.blobs.items()}
        seen |= {f"{name} {turn}": gradient for name, gradient in gradients(net).items()}
    net.forward(Phase.TEST)
    return seen | {f"{name} (test)": blob.numpy() for name, blob in net.blobs.items()} | contents(net)


def training(system: System, make: Make) -> Seen:
    """Train five iterations, beyond the end of the data."""
    net = net_of(system)
    return contents(net, train(net, make))


def accumulating(system: System, make: Make) -> Seen:
    """Train three iterations, each with the mean gradient of two minibatches."""
    net = net_of(system)
    return contents(net, train(net, make, max_iter=3, accumulate=2))


def training_with_frozen_layers(system: System, make: Make) -> Seen:
    """Freeze, train, unfreeze and train on."""
    net = net_of(system)
    net.freeze("first", "tied 2")
    solver = train(net, make, max_iter=2)
    frozen = contents(net, solver)
    net.unfreeze()
    train_on(net, solver, 4)
    return {f"{key} (frozen)": array for key, array in frozen.items()} | contents(net, solver)


def predicting(system: System, make: Make) -> Seen:
    """Predict one to nine rows, in batches of one to nine."""
    net, images = net_of(system), sample_net.rows(9, seed=11)[0]
    seen = {f"{n} rows": net.predict(images[:n], "scores") for n in range(1, 10)}
    return seen | {f"batches of {n}": net.predict(images, "side", batch_size=n) for n in range(1, 10)}


def validating(system: System, make: Make) -> Seen:
    """Run the whole data set, whose last minibatch is padded, before and after training."""
    layers = sample_net.body()
    net, test = net_of(system, layers), net_of(system, layers, name="test", count=13, batch=8)
    seen = {"untrained": np.asarray(test.forward_epoch())}
    train(net, make)
    seen["trained"] = np.asarray(test.forward_epoch())
    seen["accuracy"] = np.asarray(test.statistics()["accuracy-accuracy"])
    seen["training net"] = np.asarray(net.forward_epoch())
    return seen


def taking_turns(system: System, make: Make) -> Seen:
    """Train, predict, set a parameter and train on: nothing may use an old copy of the parameters."""
    layers = sample_net.body()
    net, test = net_of(system, layers), net_of(system, layers, name="test", count=13, batch=8)
    images, solver = sample_net.rows(7, seed=11)[0], make(max_iter=1)
    seen: Seen = {}
    for turn in range(3):
        train_on(net, solver, 2 * turn + 1)
        seen |= {f"{key} {turn}": array for key, array in contents(net, solver).items()}
        seen[f"predicted {turn}"] = test.predict(images, "scores", batch_size=3)
        seen[f"validated {turn}"] = np.asarray(test.forward_epoch())
        seen[f"forward {turn}"] = np.asarray(net.forward())
        weight = net.parameters["scores"]["weight"]
        weight.set(weight.numpy() * 0.75)
        seen[f"moved {turn}"] = test.predict(images, "scores")
    return seen


WORK: Mapping[str, Work] = {
    work.__name__.replace("_", " "): work
    for work in (
        forward_and_backward, training, accumulating, training_with_frozen_layers, predicting, validating,
        taking_turns,
    )
}  # fmt: skip


def learned_parameters(net: Net) -> list[str]:
    """The keys of a net's parameters; a tied one comes once."""
    return [key for key, state in net.states.items() if isinstance(state, Parameter)]


def memory(net: Net, solver: Solver) -> Seen:
    """The net's parameters, and the solver's slots for them."""
    return contents(net) | {key: net.system.read(value) for key, value in solver.memories(net).items()}


def state(state: SolverState) -> Seen:
    """A solver's state as arrays."""
    facts = {"iteration": state.iteration, "objective": state.objective, **state.cells}
    return {f"({name})": np.asarray(value) for name, value in facts.items()}
