"""`CoffeeBreakTests`: the test class for coffee breaks. Needs pytest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mocha_core.errors import ConfigurationError, DataError
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing import sample_net
from mocha_core.testing.backends import open_any
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.sample_runs import Seen, assert_same_bytes, descent, lasting, net_of, train_on
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.snapshot import capture, restore
from mocha_core.train.solver import Solver


class CoffeeBreakTests(Conformance):
    """The requirements on a coffee break. Subclass it as `Test...`, and define `make`:

        class TestParameterNorms(CoffeeBreakTests):
            def make(self, folder, net):
                return ParameterNorms()

    A break may read everything and change nothing: neither parameters, states, slots and statistics, nor the cursors
    and the state of the solver. Only `init` may, for example to continue a saved run. At the end of a run, even one
    that is stopped or fails, the break releases its resources, and can be used again. It writes only into the folder
    that it was given, and it publishes facts that can be written as JSON.

    Attributes:
        iterations: the length of the runs; the break is taken at each iteration, or at every second one.
        xfail: tests that are known to fail, and why.
    """

    iterations: ClassVar[int] = 4

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.make is CoffeeBreakTests.make and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: say how the coffee break is made, by make(folder, net).")

    def make(self, folder: Path, net: Net) -> CoffeeBreak:
        """A new coffee break.

        Args:
            folder: the folder that it may write into. It exists, with the files that earlier breaks wrote.
            net: the net that is trained; a net for validation is made on `net.system`.
        """
        raise NotImplementedError

    def arguments(self) -> dict[str, list[Any]]:
        return super().arguments() | {"interval": [1, 2]}

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty folder for the break; it lies beside the working directory, which has to stay empty."""
        for name in ("folder", "elsewhere"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        return tmp_path / "folder"

    def run(self, net: Net, *breaks: CoffeeBreak, interval: int = 1, iterations: int = 0) -> Solver:
        """A solver that has trained the net with these breaks."""
        solver = descent(max_iter=iterations or self.iterations)
        for coffee in breaks:
            solver.add_coffee_break(coffee, every_n_iter=interval)
        solver.solve(net)
        return solver

    def undisturbed(self, backend: str = "reference", iterations: int = 0) -> Seen:
        """The lasting values after a run without breaks."""
        with system(backend) as made:
            net = net_of(made)
            return lasting(net, self.run(net, iterations=iterations))

    def test_it_is_a_coffee_break(self, folder: Path) -> None:
        with system() as made:
            coffee = self.make(folder, net_of(made))
            assert isinstance(coffee, CoffeeBreak), f"expected a CoffeeBreak, received {coffee!r}"

    def test_the_training_is_the_same(self, backend: str, interval: int, folder: Path) -> None:
        """Training with the break and without it gives the same bits."""
        with system(backend) as made:
            net = net_of(made)
            found = lasting(net, self.run(net, self.make(folder, net), interval=interval))
        assert_same_bytes(self.undisturbed(backend), found)

    def test_it_changes_nothing(self, folder: Path) -> None:
        """No hook except `init` changes anything, even if the run is stopped."""
        with system() as made:
            net = net_of(made)
            watched = Watched(self.make(folder, net))
            self.run(net, watched, StopsAt(2))
        assert watched.hooks == ["init", "enjoy", "enjoy", "enjoy", "stopped", "destroy"]

    def test_a_run_that_is_stopped_goes_on(self, folder: Path) -> None:
        """One solver solves twice with one break."""
        with system() as made:
            net = net_of(made)
            solver = self.run(net, self.make(folder, net), StopsAt(2))
            assert solver.state.iteration == 2
            solver.solve(net)
            found = lasting(net, solver)
        assert_same_bytes(self.undisturbed(), found)

    def test_a_longer_run(self, folder: Path) -> None:
        """A finished run continues to a larger `max_iter`."""
        with system() as made:
            net = net_of(made)
            solver = self.run(net, self.make(folder, net))
            train_on(net, solver, 2 * self.iterations)
            found = lasting(net, solver)
        assert_same_bytes(self.undisturbed(iterations=2 * self.iterations), found)

    def test_a_new_run_of_the_same_break(self, folder: Path) -> None:
        """It serves a second solver, which trains another net of the same layers."""
        with system() as made:
            net = net_of(made)
            coffee = self.make(folder, net)
            for trained in (net, Net("another", made, net.layers)):
                assert self.run(trained, coffee).state.iteration == self.iterations

    def test_resuming(self, folder: Path) -> None:
        """A stopped run, continued with another break of the same kind in the same folder, is the same run."""
        with system() as made:
            net = net_of(made)
            solver = self.run(net, self.make(folder, net), iterations=2)
            snapshot = capture(solver, net)
        with system() as made:
            net = net_of(made)
            solver = descent(max_iter=self.iterations)
            restore(snapshot, solver, net)
            solver.add_coffee_break(self.make(folder, net), every_n_iter=1)
            solver.solve(net)
            found = {key: array for key, array in lasting(net, solver).items() if key != STATISTIC}
        expected = {key: array for key, array in self.undisturbed().items() if key != STATISTIC}
        assert_same_bytes(expected, found)

    def test_an_exception_in_the_run(self, folder: Path) -> None:
        """`solve` raises the same exception, and the break can be used again."""
        with system() as made:
            net = net_of(made)
            solver = descent(max_iter=self.iterations)
            for coffee in (self.make(folder, net), FailsOnceAt(2)):
                solver.add_coffee_break(coffee, every_n_iter=1)
            with pytest.raises(RuntimeError, match="the other break fails") as caught:
                solver.solve(net)
            assert not getattr(caught.value, "__notes__", []), "destroy fails after a run that failed"
            assert solver.state.iteration == 2
            solver.solve(net)
            found = lasting(net, solver)
        assert_same_bytes(self.undisturbed(), found)

    def test_an_invalid_minibatch(self, folder: Path) -> None:
        """A label of the third minibatch is out of range: `solve` raises, and all is as after the second."""
        images, labels = sample_net.rows(18)
        with system() as made:
            net = net_of(made, arrays=(images, labels))
            expected = lasting(net, self.run(net, iterations=2))
        labels[15] = sample_net.CLASSES
        with system() as made:
            net = net_of(made, arrays=(images, labels))
            solver = descent(max_iter=self.iterations)
            solver.add_coffee_break(self.make(folder, net), every_n_iter=1)
            with pytest.raises(DataError, match="labels") as caught:
                solver.solve(net)
            assert not getattr(caught.value, "__notes__", []), "destroy fails after a run that failed"
            assert_same_bytes(expected, lasting(net, solver))

    def test_destroy_without_a_run(self, folder: Path) -> None:
        """If `init` fails, `destroy` is called next; a second call of it has no effect."""
        with system() as made:
            net, solver = net_of(made), descent()
            coffee = self.make(folder, net)
            for _ in range(2):
                coffee.destroy(solver, net)
            coffee.init(solver, net)
            for _ in range(2):
                coffee.destroy(solver, net)

    def test_listeners_are_given_back(self, folder: Path) -> None:
        """At the end of a run, the listeners that the break added are removed, and all others remain."""
        with system() as made:
            net, solver = net_of(made), descent(max_iter=self.iterations)
            events: list[dict[str, Any]] = []
            solver.listeners.append(events.append)
            before = list(solver.listeners)
            solver.add_coffee_break(self.make(folder, net), every_n_iter=1)
            solver.solve(net)
            assert solver.listeners == before

    def test_events_can_be_written(self, folder: Path) -> None:
        """It publishes facts that are JSON values, because other breaks write them to files."""
        with system() as made:
            net, solver = net_of(made), descent(max_iter=self.iterations)
            events: list[dict[str, Any]] = []
            solver.listeners.append(events.append)
            solver.add_coffee_break(self.make(folder, net), every_n_iter=1)
            solver.solve(net)
        for event in events:
            try:
                json.dumps(event)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"it publishes {event}, which cannot be written as JSON: {error}") from error

    def test_it_writes_where_it_may(self, folder: Path) -> None:
        with system() as made:
            net = net_of(made)
            self.run(net, self.make(folder, net), StopsAt(2))
        found = [str(path) for path in folder.parent.rglob("*") if folder not in (path, *path.parents)]
        assert found == [str(folder.parent / "elsewhere")], f"it wrote {', '.join(found)}"


#: The statistics of the sample net, which a snapshot does not contain.
STATISTIC = "(accuracy-accuracy)"


def system(backend: str = "reference") -> System:
    """A system with one seed."""
    return System(open_any(backend), dtype="float32", seed=3)


class StopsAt(CoffeeBreak):
    """Stops the run once, at an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def enjoy(self, solver: Solver, net: Net) -> None:
        if solver.state.iteration == self.iteration:
            self.iteration = -1
            solver.stop()


class FailsOnceAt(StopsAt):
    """Raises once, at an iteration."""

    def enjoy(self, solver: Solver, net: Net) -> None:
        if solver.state.iteration == self.iteration:
            self.iteration = -1
            raise RuntimeError("the other break fails")


class Watched(CoffeeBreak):
    """Calls the break under test, and raises if it changes anything.

    Attributes:
        hooks: the names of the hooks that were called, in order.
    """

    def __init__(self, coffee: CoffeeBreak) -> None:
        self.coffee = coffee
        self.hooks: list[str] = []

    def init(self, solver: Solver, net: Net) -> None:
        self.hooks.append("init")
        self.coffee.init(solver, net)

    def enjoy(self, solver: Solver, net: Net) -> None:
        self.watch("enjoy", solver, net)

    def stopped(self, solver: Solver, net: Net) -> None:
        self.watch("stopped", solver, net)

    def destroy(self, solver: Solver, net: Net) -> None:
        self.watch("destroy", solver, net)

    def watch(self, hook: str, solver: Solver, net: Net) -> None:
        """Call a hook, and raise `AssertionError` if it changes a value that outlives a minibatch."""
        self.hooks.append(hook)
        before = lasting(net, solver)
        returned: object = getattr(self.coffee, hook)(solver, net)
        assert returned is None, f"{hook} returned {returned!r}, expected nothing"
        after = lasting(net, solver)
        changed = [key for key, array in after.items() if array.tobytes() != before[key].tobytes()]
        assert not changed, f"{hook} changes {', '.join(changed)}: only init may change anything"
