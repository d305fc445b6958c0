"""`CoffeeBreakTests` notices what it is for: each of these breaks has one fault."""

import os
from pathlib import Path

import numpy as np
import pytest

from mocha_core.errors import ConfigurationError, StateError
from mocha_core.testing import CoffeeBreakTests
from mocha_core.train.coffee_break import CoffeeBreak


class TestACoffeeBreakThatDoesNothing(CoffeeBreakTests):
    def make(self, folder, net):
        return CoffeeBreak()


class Notes(CoffeeBreak):
    """Sound: opens a file, listens, publishes, and gives everything back."""

    def __init__(self, folder):
        self.path, self.file = folder / "notes.txt", None

    def init(self, solver, net):
        self.file = self.path.open("a")
        solver.listeners.append(self.write)

    def enjoy(self, solver, net):
        solver.publish("noted", objective=solver.state.objective)

    def destroy(self, solver, net):
        if self.file is not None:
            solver.listeners.remove(self.write)
            self.file.close()
            self.file = None

    def write(self, event):
        print(event, file=self.file)


class TestNotes(CoffeeBreakTests):
    def make(self, folder, net):
        return Notes(folder)


class Decays(CoffeeBreak):
    def enjoy(self, solver, net):
        weight = net.parameters["first"]["weight"]
        weight.set(weight.numpy() * 0.5)


class Resets(CoffeeBreak):
    def destroy(self, solver, net):
        net.reset_statistics()


class Peeks(CoffeeBreak):
    """Takes a minibatch away from the training."""

    def enjoy(self, solver, net):
        net.forward()


class Opinionated(CoffeeBreak):
    def stopped(self, solver, net):
        return "stopped"


class Once(CoffeeBreak):
    used = False

    def init(self, solver, net):
        if self.used:
            raise StateError("it was used before")
        self.used = True


class Fragile(CoffeeBreak):
    """Destroys what `init` made, whether it did or not."""

    def init(self, solver, net):
        self.kept = []

    def destroy(self, solver, net):
        del self.kept


class Untidy(CoffeeBreak):
    """Takes for granted that the run comes to its end."""

    def destroy(self, solver, net):
        assert solver.state.iteration == solver.parameters.max_iter


class Leaks(CoffeeBreak):
    def init(self, solver, net):
        solver.listeners.append(print)


class Thief(CoffeeBreak):
    def destroy(self, solver, net):
        solver.listeners.clear()


class Arrays(CoffeeBreak):
    def enjoy(self, solver, net):
        solver.publish("arrays", weight=np.zeros(3))


class Litters(CoffeeBreak):
    def enjoy(self, solver, net):
        Path("litter.txt").write_text(os.getcwd())


class LocksItself(CoffeeBreak):
    """Refuses a folder where one of its kind was before."""

    folder = None

    def init(self, solver, net):
        (self.folder / "lock").touch(exist_ok=False)


def suite_of(kind):
    class Suite(CoffeeBreakTests):
        def make(self, folder, net):
            made = kind()
            made.folder = folder
            return made

    return Suite()


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (object, "it_is_a_coffee_break"),
        (Decays, "the_training_is_the_same"),
        (Decays, "it_changes_nothing"),
        (Resets, "it_changes_nothing"),
        (Peeks, "the_training_is_the_same"),
        (Peeks, "resuming"),
        (Opinionated, "it_changes_nothing"),
        (Once, "a_run_that_is_stopped_goes_on"),
        (Once, "a_longer_run"),
        (Once, "a_new_run_of_the_same_break"),
        (Fragile, "destroy_without_a_run"),
        (Untidy, "a_run_that_is_stopped_goes_on"),
        (Untidy, "an_exception_in_the_run"),
        (Untidy, "an_invalid_minibatch"),
        (Leaks, "listeners_are_given_back"),
        (Thief, "listeners_are_given_back"),
        (Arrays, "events_can_be_written"),
        (Litters, "it_writes_where_it_may"),
        (LocksItself, "resuming"),
    ],
)
def test_one_fault_each(kind, test, tmp_path, monkeypatch):
    for name in ("folder", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    given = {"backend": "reference", "interval": 1} if test == "the_training_is_the_same" else {}
    getattr(suite_of(CoffeeBreak), f"test_{test}")(folder=tmp_path / "folder", **given)
    with pytest.raises((AssertionError, AttributeError, OSError, StateError)):
        getattr(suite_of(kind), f"test_{test}")(folder=tmp_path / "folder", **given)


def test_how_it_is_made_has_to_be_said():
    with pytest.raises(ConfigurationError, match=r"make\(folder, net\)"):

        class TestNothing(CoffeeBreakTests):
            pass
