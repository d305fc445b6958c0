"""`SolverTests`: the test class for solvers. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.errors import ConfigurationError, DataError, NonFiniteError, SnapshotError
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Call, Section
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.plugin.manager import registries
from mocha_core.testing import sample_net
from mocha_core.testing.backends import open_any, open_system
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.given_gradients import GRADIENTS, START, Box, Squares, steered
from mocha_core.testing.kernel_checks import Bench, check_kernel, kernels
from mocha_core.testing.kit_solver import Descent
from mocha_core.testing.op_case import OpCase
from mocha_core.testing.sample_runs import (
    WORK,
    assert_same_bytes,
    contents,
    lasting,
    learned_parameters,
    memory,
    net_of,
    parameters,
    state,
    train_on,
)
from mocha_core.testing.tolerances import OF_A_RUN, assert_close
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.snapshot import capture, restore
from mocha_core.train.solver import Solver, SolverParameters, UpdateOp

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Options of a parameter that its update op has to handle.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "multiplier": {"multiplier": 2.0},
    "regularizer": {"regularizer": Squares()},
    "constraint": {"constraint": Box(0.75)},
    "everything": {"multiplier": 0.5, "regularizer": Squares(), "constraint": Box(0.75)},
}


class SolverTests(Conformance):
    """The requirements on a solver. Subclass it as `Test...`, and name the solver:

        class TestNesterov(SolverTests):
            solver = Nesterov

            def expected(self, w, gradients, learning_rate, momentum):
                v = np.zeros_like(w)
                for g, rate, m in zip(gradients, learning_rate, momentum):
                    ...
                    yield w

    It trains on every backend, and its update op runs in every kernel registered for it. Features of the core
    (regularizers, constraints, multipliers, invalid minibatches, resuming) are tested with it, too.

    Attributes:
        solver: the class. Its constructor takes `SolverParameters`.
        parameters: the solver's options except `max_iter`, with a small learning rate at which it learns.
        tolerances: the relative errors allowed in the result of one update, by dtype; a hundred times as much is
            allowed in training.
        xfail: tests that are known to fail, and why. A solver without a learning rate, for example, has
            `{"test_multiplier": "AdaDelta has no learning rate"}`.
    """

    solver: ClassVar[type[Solver] | None] = None
    parameters: ClassVar[SolverParameters] = parameters()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.solver is None and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: say which solver it tests, such as solver = AcmeSolver.")

    def arguments(self) -> dict[str, list[Any]]:
        work = ["training", "accumulating", "training with frozen layers", "taking turns"]
        return super().arguments() | {"work": work, "kind": list(KINDS)}

    def expected(self, w: NDArray[Any], gradients: Sequence[NDArray[Any]], *_: Any, **cells: Any) -> Any:
        """The parameter after each update, by an independent implementation in float64; None: not tested.

        Args:
            w: the first contents of the parameter.
            gradients: one for each update, without regularization.
            cells: the values of each of the solver's cells, such as `learning_rate` and `momentum`, one per update.
        """
        return None

    def make(self, **changes: Any) -> Solver:
        """The solver, with the options `parameters` and these changes."""
        kind = type(self).solver
        assert kind is not None
        return kind(replace(self.parameters, **changes))

    def trained(self, net: Net, **changes: Any) -> Solver:
        """The solver, after it has trained a net."""
        solver = self.make(**changes)
        solver.solve(net)
        return solver

    def moved(self, backend: str, n: int = 3, told: Mapping[str, Any] | None = None, **net: Any) -> NDArray[Any]:
        """The parameter of a `steered` net after n updates by the solver, with the options `told`."""
        with open_system(backend, dtype="float64") as system:
            built = steered(system, **net)
            self.trained(built, max_iter=n, **(told or {}))
            return built.parameters["layer"]["weight"].numpy()

    # The rule.

    def test_expected(self, backend: str, dtype: str) -> None:
        n = len(GRADIENTS)
        cells = {name: column.tolist() for name, column in self.make(max_iter=n).schedule(0, n).items()}
        rows = [g.astype(dtype).astype(float) for g in GRADIENTS]
        expected = self.expected(START.astype(dtype).astype(float), rows, **cells)
        if expected is None:
            pytest.skip("the class does not define expected() for this solver")
        recorded: list[NDArray[Any]] = []

        class Record(CoffeeBreak):
            def enjoy(self, solver: Solver, net: Net) -> None:
                recorded.append(net.parameters["layer"]["weight"].numpy())

        with open_system(backend, dtype=dtype) as system:
            solver = self.make(max_iter=n, regu_coef=0.0)
            solver.add_coffee_break(Record(), every_n_iter=1)
            solver.solve(steered(system))
        for i, (found, wanted) in enumerate(zip(recorded[1:], expected, strict=True)):
            assert_close(f"the parameter after update {i}", found, wanted, 10 * self.tolerances[dtype])

    def test_update_op(self, kind: str, any_backend: str, dtype: str) -> None:
        """Every kernel of the op gives the results of its reference, with the operands of a real run."""
        backend = open_any(any_backend)
        for case in self.op_cases(kind):
            for plugin, kernel in kernels(case, backend, dtype):
                try:
                    check_kernel(case, backend, kernel, dtype, self.tolerances[dtype])
                except AssertionError as error:
                    raise AssertionError(f"{kernel.label} of plugin '{plugin}': {error}") from error
        backend.close()

    def test_an_invalid_minibatch_updates_nothing(self, kind: str, any_backend: str, dtype: str) -> None:
        """If the status cell is set, no kernel changes a bit of parameters and slots."""
        backend = open_any(any_backend)
        for case in self.op_cases(kind, status=5):
            for plugin, kernel in kernels(case, backend, dtype):
                bench = Bench(case, backend, kernel, dtype)
                for i, found in zip(case.op.updates, bench.forward(), strict=True):
                    before = case.arrays(dtype)[i]
                    same = found is not None and found.tobytes() == before.tobytes()
                    assert same, f"{kernel.label} of plugin '{plugin}' changes input {i} although the status is set"
        backend.close()

    def op_cases(self, kind: str, status: int = 0) -> list[OpCase]:
        """The update ops of a net with one parameter, with their operands in the third iteration."""
        with open_system("reference", dtype="float64") as system:
            net = steered(system, **KINDS[kind])
            solver = self.trained(net, max_iter=2)
            program = net.runs.training_program(solver)
            calls = [step.call for step in program.plan.steps if step.section is Section.UPDATE]
            assert calls, "the solver records no update"
            for name in program.cells:
                if name in solver.schedule(2, 1):
                    system.backend.copy_from_numpy(program.cells[name], solver.schedule(2, 1)[name][0])
            return [self.op_case(call, system, program, status) for call in calls]

    def op_case(self, call: Call, system: System, program: Any, status: int) -> OpCase:
        """One use of an update op, with the contents of its operands."""
        arrays = [program.read(value) for value in call.ins]
        arrays = [
            np.asarray(status, a.dtype) if v.name == Cell.STATUS else a for v, a in zip(call.ins, arrays, strict=True)
        ]
        return OpCase(call.op, arrays)

    def test_the_update_op_has_a_name_of_its_own(self) -> None:
        for case in self.op_cases("plain"):
            assert isinstance(case.op, UpdateOp), f"{type(case.op).__name__} is no UpdateOp"
            assert case.op.name, f"{type(case.op).__name__} has no name"

    # Updates of parameters, by every solver.

    def test_parity(self, work: str, any_backend: str, dtype: str) -> None:
        """Training on a backend gives the results of the reference backend, including slots."""
        seen = []
        for name in (any_backend, "reference"):
            with open_system(name, dtype=dtype, seed=3) as system:
                seen.append(WORK[work](system, self.make))
        assert seen[0].keys() == seen[1].keys()
        for name, array in seen[1].items():
            assert_close(f"'{name}'", seen[0][name], array, OF_A_RUN * self.tolerances[dtype])

    def test_same_seed_same_bytes(self, backend: str, dtype: str) -> None:
        runs = []
        for _ in range(2):
            with open_system(backend, dtype=dtype, seed=3) as system:
                net = net_of(system)
                runs.append(contents(net, self.trained(net)))
        assert_same_bytes(*runs)

    def test_multiplier(self, backend: str) -> None:
        """A parameter's multiplier is a factor of its learning rate."""
        once, twice = (
            self.moved(backend, told={"lr_policy": 0.02}),
            self.moved(backend, told={"lr_policy": 0.01}, multiplier=2.0),
        )
        assert_close("with a multiplier of 2", twice, once, self.tolerances["float64"])
        np.testing.assert_array_equal(self.moved(backend, multiplier=0.0), START)

    def test_regularizer(self, backend: str) -> None:
        """The regularizer's gradient, times `regu_coef`, is added to the gradient."""
        plain, given = self.moved(backend, 1), self.moved(backend, 1, {"regu_coef": 0.25}, regularizer=Squares())
        added = self.moved(backend, 1, gradients=[GRADIENTS[0] + 0.25 * 2 * START])
        assert_close("with a regularizer", given, added, self.tolerances["float64"])
        assert np.abs(given - plain).max() > 0
        np.testing.assert_array_equal(self.moved(backend, 1, {"regu_coef": 0.0}, regularizer=Squares()), plain)

    def test_constraint(self, backend: str) -> None:
        """The parameter is projected after each update."""
        projected = np.clip(self.moved(backend, 1), -0.5, 0.5)
        assert_close(
            "with a constraint", self.moved(backend, 1, constraint=Box(0.5)), projected, self.tolerances["float64"]
        )
        assert np.abs(self.moved(backend, 3, constraint=Box(0.5))).max() <= 0.5

    def test_frozen_layers(self, backend: str) -> None:
        """They do not change, and have no slots; the others learn."""
        with open_system(backend, dtype="float64", seed=3) as system:
            net = net_of(system)
            net.freeze("first", "scores")
            before = contents(net)
            solver = self.trained(net)
            after = contents(net)
            for name, array in before.items():
                still = name.startswith(("first___", "scores___"))
                assert (array.tobytes() == after[name].tobytes()) is still, name
            assert not [key for key in solver.memories(net) if "/first___" in key or "/scores___" in key]

    def test_tied_parameters_are_updated_once(self, backend: str) -> None:
        tied = self.moved(backend, keys={"layer": "tied", "other": "tied"})
        alone = self.moved(backend, gradients=[2 * g for g in GRADIENTS])
        assert_close("a parameter of two layers", tied, alone, self.tolerances["float64"])

    def test_accumulated_minibatches_are_one_big_one(self, backend: str) -> None:
        small, big = self.moved(backend, told={"accumulate": 2}), self.moved(backend, batch=2)
        assert_close("two minibatches of one row", small, big, self.tolerances["float64"])

    def test_clipped_gradients(self, backend: str) -> None:
        """The rule gets clipped gradients, to which the regularizer is added."""
        if "clip_norm" not in registries().ops.names():
            pytest.skip("no installed plugin clips gradients: pip install mocha-solvers-std")
        by_norm = [g * min(1.0, 0.5 / float(np.linalg.norm(g))) for g in GRADIENTS]
        by_value = [np.clip(g, -0.5, 0.5) for g in GRADIENTS]
        for name, clipped in (("clip_norm", by_norm), ("clip_value", by_value)):
            given = self.moved(backend, told={name: 0.5}, regularizer=Squares())
            expected = self.moved(backend, gradients=clipped, regularizer=Squares())
            assert_close(f"with {name}", given, expected, self.tolerances["float64"])

    def test_the_schedule_has_a_value_for_each_iteration(self) -> None:
        solver = self.make(max_iter=100)
        together = solver.schedule(3, 5)
        for name, column in together.items():
            assert column.shape == (5,), name
            assert np.isfinite(column).all(), name
            alone = [solver.schedule(i, 1)[name][0] for i in range(3, 8)]
            np.testing.assert_array_equal(column, alone, err_msg=f"{name} from iteration 3 on, together and alone")

    def test_coffee_breaks_change_nothing(self, backend: str) -> None:
        """Updates do not depend on how many iterations run at once."""
        runs = []
        for often in (False, True):
            with open_system(backend, dtype="float32", seed=3) as system:
                net, solver = net_of(system), self.make(max_iter=6)
                if often:
                    solver.add_coffee_break(CoffeeBreak(), every_n_iter=1)
                solver.solve(net)
                runs.append(contents(net, solver))
        assert_same_bytes(*runs)

    # Runs.

    def test_it_learns(self, backend: str) -> None:
        with open_system(backend, seed=3) as system:
            net = net_of(system)
            before = net.forward_epoch()
            self.trained(net, max_iter=60)
            after = net.forward_epoch()
        assert after < before, f"60 iterations took the objective from {before:.4g} to {after:.4g}"

    def test_an_invalid_minibatch_stops_the_run(self, backend: str) -> None:
        images, labels = sample_net.rows(18)
        labels[15] = sample_net.CLASSES
        with open_system(backend, seed=3) as system:
            net, solver = net_of(system, arrays=(images, labels)), self.make(max_iter=2)
            solver.solve(net)
            before = lasting(net, solver)
            with pytest.raises(DataError, match="labels"):
                train_on(net, solver, 9)
            assert solver.state.iteration == 2
            assert_same_bytes(before, lasting(net, solver))

    def test_numbers_that_are_not_finite_stop_the_run(self, backend: str) -> None:
        """An infinite gradient reaches neither the parameter nor a slot."""
        gradients = [*GRADIENTS[:2], np.full_like(START, np.inf), GRADIENTS[3]]
        with open_system(backend, dtype="float64") as system:
            net, solver = steered(system, gradients), self.make(max_iter=4)
            with pytest.raises(NonFiniteError):
                solver.solve(net)
            assert solver.state.iteration == 2
            stopped = memory(net, solver)
        with open_system(backend, dtype="float64") as system:
            net = steered(system, gradients)
            assert_same_bytes(memory(net, self.trained(net, max_iter=2)), stopped)

    def test_resuming_is_exact(self, backend: str, dtype: str) -> None:
        """A run that continues from a snapshot in another system equals the uninterrupted one, bit for bit."""
        with open_system(backend, dtype=dtype, seed=3) as system:
            net = net_of(system)
            solver = self.trained(net, max_iter=3)
            snapshot = capture(solver, net)
            train_on(net, solver, 7)
            expected = contents(net, solver) | state(solver.state)
        with open_system(backend, dtype=dtype, seed=3) as system:
            net, solver = net_of(system), self.make(max_iter=7)
            restore(snapshot, solver, net)
            solver.solve(net)
            assert_same_bytes(expected, contents(net, solver) | state(solver.state))

    def test_a_snapshot_of_another_solver_is_refused(self) -> None:
        with open_system("reference") as system:
            net, other = net_of(system), Descent(parameters(max_iter=2))
            other.solve(net)
            snapshot, before, solver = capture(other, net), contents(net), self.make()
            if type(solver).__name__ == "Descent":
                snapshot.facts["solver"] = "Ascent"
            with pytest.raises(SnapshotError, match=type(solver).__name__):
                restore(snapshot, solver, net)
            assert_same_bytes(before, contents(net))
            assert solver.state.iteration == 0

    def test_slots_that_do_not_fit_are_refused(self) -> None:
        """If the shape of one slot in a snapshot is wrong, nothing of the snapshot is loaded."""
        with open_system("reference") as system:
            net = net_of(system)
            solver = self.trained(net, max_iter=2)
            snapshot, before = capture(solver, net), contents(net)
            slots = dict(snapshot.slots)
            assert len(slots) == len(solver.update_op.slots) * len(learned_parameters(net))
            for name, array in slots.items():
                others = {key: slots[key] for key in slots if key != name}
                for wrong in (others | {name: np.zeros((7, 7))}, others | {f"nothing-{name}": array}):
                    snapshot.slots = wrong
                    with pytest.raises(SnapshotError):
                        restore(snapshot, self.make(), net)
            assert_same_bytes(before, contents(net))

    def test_one_solver_and_two_nets(self, backend: str) -> None:
        """Each net has its own slots, which training the other does not change."""
        with open_system(backend, dtype="float64") as system:
            first, second = steered(system), steered(system, name="second")
            solver = self.trained(first, max_iter=2)
            before = memory(first, solver)
            train_on(second, solver, 4)
            assert_same_bytes(before, memory(first, solver))
            assert len(solver.memories(first)) == len(solver.memories(second)) == len(solver.update_op.slots)
            assert contents(second)["second___weight"].tobytes() != START.tobytes()

    def test_it_goes_on_where_it_is(self) -> None:
        """Two solves give the same as one longer solve; at its last iteration a solver does not run on."""
        with open_system("reference", dtype="float64") as one, open_system("reference", dtype="float64") as two:
            straight, halves = steered(one), steered(two)
            expected = contents(straight, self.trained(straight, max_iter=4))
            solver = self.trained(halves, max_iter=2)
            before = contents(halves, solver)
            solver.solve(halves)
            assert_same_bytes(before, contents(halves, solver))
            train_on(halves, solver, 4)
            assert_same_bytes(expected, contents(halves, solver))
