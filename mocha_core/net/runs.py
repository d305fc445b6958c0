"""`Runs`: compiles the programs of a net when they are first needed, and runs them."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mocha_core.compile.budget import allocating
from mocha_core.compile.program import KEPT_BYTES, Program, Schedule, Stop
from mocha_core.describe.parameter import Parameter
from mocha_core.errors import DataError, StateError
from mocha_core.graph.cells import Cell
from mocha_core.graph.commit import commit_updates
from mocha_core.graph.plan import Phase, Plan, Section
from mocha_core.graph.value import Spec
from mocha_core.host import forks
from mocha_core.net.feed import Feeds
from mocha_core.net.prediction import Predictions
from mocha_core.net.recorder import Recorder
from mocha_core.net.system import System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.trainer import Trainer


class ProgramKey(NamedTuple):
    """The key of a program that takes its rows from the data layers: all that it depends on besides the layers."""

    phase: Phase
    frozen: frozenset[str] = frozenset()
    solver: weakref.ref[Trainer] | None = None
    rule: object = None
    minibatches: int = 1
    sectioned: bool = False


class Runs:
    """Runs a net. People use `Net`; solvers, snapshots and tests use this class.

    Attributes:
        label: the name of the net in errors.
        feeds: the feeds of its data layers.
        plan: the forward steps of the training phase.
        frozen: names of layers that do not learn.
        finished: the section that ran last, if all of it ran.
        predictions: the programs of `predict`.
        half_updated: whether an iteration ended between its updates: some parameters are one update ahead.
    """

    #: Compiled programs that are kept, besides those of `predict`, whatever they take; more are kept as long as all
    #: take no more than `KEPT_BYTES`. The least recently used goes first.
    MIN_PROGRAMS = 8

    def __init__(self, name: str, system: System, recorder: Recorder, feeds: Feeds, keep: Sequence[str]) -> None:
        self.name = name
        self.label = f"Net '{name}'"
        self.system = system
        self.recorder = recorder
        self.feeds = feeds
        self.keep = keep
        self.frozen: frozenset[str] = frozenset()
        self.finished: Section | None = None
        self.half_updated = False
        self.destroyed = False
        self.plan: Plan = recorder.record(Phase.TRAIN)
        self.predictions = Predictions(self)
        self._programs: OrderedDict[ProgramKey, Program] = OrderedDict()
        self._last: Program | None = None
        self._user = threading.RLock()
        here = weakref.ref(self)  # a feed keeps no net alive
        for feed in feeds.values():
            feed.using = lambda: nullcontext() if (runs := here()) is None else runs.using()
        forks.renew_in_child(self)

    def renew_locks(self) -> None:
        self._user = forks.renewed(self._user)

    # Checks before a run.

    def check_usable(self) -> None:
        """Raise `StateError` where the system was closed, or the net destroyed."""
        self.system.check_open()
        if self.destroyed:
            raise StateError(f"{self.label} was destroyed. Build a new Net.")

    @contextmanager
    def using(self) -> Iterator[None]:
        """Every use of what the runs of a net share (buffers, cells, cursors) enters this.

        Raises:
            StateError: another thread uses them.
        """
        if not self._user.acquire(blocking=False):
            raise StateError(
                f"{self.label} is in use by another thread. Several threads at once may only call predict(). For "
                "anything else give each thread a net of its own, which shares the parameters: mocha.Net(name, "
                "system, net.layers); or let the threads take turns, with a threading.Lock."
            )
        try:
            yield
        finally:
            self._user.release()

    def check_whole(self) -> None:
        """Raise `StateError` where an iteration ended between its updates."""
        if self.half_updated:
            raise StateError(
                f"{self.label}: an iteration ended between its updates, and some parameters are one update ahead "
                "of the others. Load a snapshot: a new solver with a coffee.Snapshot does it. Or build the net again."
            )

    # Programs.

    def program(self, key: ProgramKey, solver: Trainer | None = None) -> Program:
        """The program with this key, compiled if there is none yet."""
        self.check_usable()
        program = self._programs.get(key)
        if program is None:
            with self.system.compiling():
                plan = self.plan_of(key, solver)
                program = self._programs[key] = self.system.backend.compile(plan, self.system.storage)
            self._forget_oldest()
        self._programs.move_to_end(key)
        return program

    def _forget_oldest(self) -> None:
        taken = sum(program.taken for program in self._programs.values())
        while taken > KEPT_BYTES and len(self._programs) > self.MIN_PROGRAMS:
            taken -= self._programs.popitem(last=False)[1].taken

    def plan_of(self, key: ProgramKey, solver: Trainer | None = None) -> Plan:
        """The steps of the program with this key."""
        plan = self.recorder.record(key.phase, keep=tuple(self.plan.blobs) if key.sectioned else self.keep)
        plan.sectioned, plan.minibatches = key.sectioned, key.minibatches
        if key.phase is Phase.TRAIN:
            self.recorder.train(plan, solver, key.frozen)
        commit_updates(plan, partial(self.recorder.cell, Cell.STATUS))
        self.recorder.upload(plan)
        return plan

    def stepwise(self, phase: Phase = Phase.TRAIN) -> ProgramKey:
        """The key of the program whose sections are run one by one, and whose blobs can all be read."""
        return ProgramKey(phase, self._learning(phase), sectioned=True)

    def training_program(self, solver: Trainer) -> Program:
        """The program of whole iterations with a solver's updates. It lives as long as the solver."""
        alive = weakref.ref(solver, self._forget)
        frozen, minibatches = self._learning(Phase.TRAIN), solver.parameters.accumulate
        # The id in a key stays unique: the ops of the program hold the regularizer or constraint.
        updates = [(p.key, p.multiplier, id(p.regularizer), id(p.constraint)) for p in self.recorder.parameters()]
        rule = solver.rule, tuple(updates)
        return self.program(ProgramKey(Phase.TRAIN, frozen, alive, rule, minibatches), solver)

    def programs(self) -> list[tuple[str, Program]]:
        """The programs compiled so far, each with its use; those in which other threads predict are left out."""
        uses = [("solve" if key.solver else key.phase.value, program) for key, program in list(self._programs.items())]
        return uses + self.predictions.programs()

    def last_or_first(self) -> Program:
        """The program that ran last, or else that of `forward` and `backward`."""
        return self._last or self.program(self.stepwise())

    def last_program(self) -> Program:
        """The program that ran last.

        Raises:
            StateError: none has run yet.
        """
        self.check_usable()
        if self._last is None:
            raise StateError(f"{self.label} has not run yet. Call net.forward() first.")
        return self._last

    def _learning(self, phase: Phase) -> frozenset[str]:
        """The frozen layers, as far as a program of this phase depends on them."""
        return frozenset(self.frozen & self.recorder.owned.keys()) if phase is Phase.TRAIN else frozenset()

    def _forget(self, solver: weakref.ref[Trainer]) -> None:
        for key in [key for key in self._programs if key.solver is solver]:
            del self._programs[key]

    # Running.

    def computing(self, program: Program) -> AbstractContextManager[None]:
        """Every run of a program enters this. One that changes parameters or states runs alone."""
        gate = self.system.storage.gate
        return gate.exclusive() if program.changes else gate.shared()

    def begin(self, program: Program) -> None:
        """Note that a run of a program starts; `finished` stays None until it ends."""
        self._last, self.finished = program, None

    def forward(self, phase: Phase) -> float:
        """Run the next minibatch forward."""
        self.check_usable()
        self.feeds.begin(wrap=True)
        program = self.program(self.stepwise(phase))
        self.begin(program)
        schedule = self.schedule(program, 1, self.feeds.first.cursor // program.plan.batch)
        with self.computing(program):
            program.start_anew()
            program.run(Section.FORWARD, schedule)
        self.raise_fault(program)
        self.feeds.advance(1)
        self.finished = Section.FORWARD
        return float(program.objectives[0]) if len(program.objectives) else float("nan")

    def backward(self) -> None:
        """Run the minibatch of the last `forward` backward."""
        program = self.last_program()
        if not program.plan.sectioned or program.plan.phase is not Phase.TRAIN or self.finished is None:
            raise StateError(f"{self.label}: call net.forward() right before net.backward().")
        with self.computing(program):
            program.run(Section.BACKWARD)
        self.finished = Section.BACKWARD

    def forward_epoch(self) -> float:
        """Run the whole data set once, in the test phase."""
        program = self.program(ProgramKey(Phase.TEST))
        feed, batch = self.feeds.first, program.plan.batch
        self.reset_statistics()
        with self.feeds.rewound():
            n = feed.batches_to_epoch(batch)
            valid = np.minimum(batch, feed.source.rows - batch * np.arange(n))
            self.feeds.begin(wrap=False, minibatches=n)
            schedule = self.schedule(program, n, 0, wrap=False) | {Cell.VALID_ROWS: valid}
            with self.computing(program):
                program.start_anew()
                program.iterate(n, schedule)
            self._last = program
            self.raise_fault(program)
        return float(np.average(program.objectives, weights=valid)) if program.objective is not None else float("nan")

    def train(self, program: Program, n: int, iteration: int, cells: Schedule, stop: Stop | None = None) -> None:
        """Run `n` iterations of a training program, from number `iteration` on; sets `done` and `objectives` of it.

        Between two iterations, other threads that wait for the parameters get their turn.

        Args:
            program: of this net.
            n: how many.
            iteration: the number of the first.
            cells: the values of the solver's cells, one per iteration.
            stop: as for `Program.iterate`.
        """
        k, program.done = program.plan.minibatches, 0
        schedule = self.schedule(program, n * k, iteration) | {name: np.repeat(c, k) for name, c in cells.items()}
        stop = np.zeros(1, np.int32) if stop is None else stop
        self.begin(program)
        done, objectives = 0, np.zeros(0)
        while True:
            left = {name: column[done * k :] for name, column in schedule.items()}
            try:
                program.done, program.objectives = 0, np.zeros(0)
                self.feeds.begin(wrap=True, minibatches=(n - done) * k)
                # No NumPy warnings of numbers that are not finite: the program and the solver check for them.
                with self.system.storage.gate.exclusive(stop), np.errstate(all="ignore"):
                    self.check_usable()
                    program.iterate(n - done, left, stop)
            finally:
                self.half_updated = self.half_updated or program.half_updated
                self.feeds.advance(program.done * k)
                objectives = np.concatenate([objectives, program.objectives]) if done else program.objectives
                done, turn = done + program.done, program.done
                program.done, program.objectives = done, objectives
            if done == n or not turn or stop[0] or program.faulty_call() is not None:
                break
            objectives = objectives[: done * k]
        self.finished = Section.BACKWARD

    def schedule(self, program: Program, n: int, iteration: int, wrap: bool = True) -> dict[str, NDArray[Any]]:
        """Values for n minibatches of the cells that every run needs."""
        k, batch = program.plan.minibatches, program.plan.batch
        resident = {name: feed for name, feed in self.feeds.items() if f"{name}.rows" in program.plan.cells}
        columns = [("cells", Spec((n, 8), "int64")), *((name, Spec((n, batch), "int64")) for name in resident)]
        with allocating(f"{self.label}, {n:,} minibatches at once", columns, "Accumulate fewer of them."):
            index = np.arange(n)
        schedule: dict[str, NDArray[Any]] = {
            Cell.ITERATION: iteration + index // k,
            Cell.FIRST_ROW: index % k * batch,
            Cell.VALID_ROWS: np.full(n, batch),
            Cell.OBJECTIVE_GRADIENT: np.full(n, 1.0 / k),
        }
        for name, feed in resident.items():
            schedule[f"{name}.rows"] = feed.rows_from(feed.cursor, n * batch, wrap).reshape(n, batch)
        return schedule

    def iterations_to_epoch(self, minibatches: int) -> int:
        """The number of iterations, of `minibatches` each, until the epoch changes."""
        feed = self.feeds.first
        return -(-feed.batches_to_epoch(feed.layer.batch_size) // minibatches)

    # Results of runs.

    def gradient(self, parameter: Parameter) -> NDArray[Any]:
        """The gradient of a parameter that the last `backward` computed, without regularization."""
        program = self.last_program()
        value = program.plan.gradients.get(parameter.value)
        if value is None or value not in program.memory.buffers or self.finished is not Section.BACKWARD:
            raise StateError(
                f"{self.label}: no gradient of '{parameter.key}' was computed. Call net.forward() and net.backward(); "
                "frozen layers, and those that reach no loss, have none."
            )
        return program.read(value, value.name)

    def discard(self, program: Program) -> None:
        """Clear the fault of a program's last minibatch. The gradients of that minibatch can no longer be read."""
        program.clear_status()
        if program is self._last:
            self.finished = None

    def raise_fault(self, program: Program) -> None:
        """Raise an error for the fault that a kernel reported in the status cell.

        Raises:
            DataError: names the layer and what is wrong with its input.
        """
        call = program.faulty_call()
        if call is None:
            return
        self.discard(program)
        operands: list[NDArray[Any] | None] = []
        for value in call.ins:
            try:
                operands.append(program.read(value))
            except StateError:
                operands.append(None)
        raise DataError(f"Layer '{call.layer}' in net '{self.name}': {call.op.explain(*operands)}")

    def reset_statistics(self) -> None:
        """Start all means anew."""
        for statistic in self.plan.statistics:
            self.system.storage.allocate([statistic.total])
            self.system.backend.copy_from_numpy(self.system.storage[statistic.total], np.zeros(2))

    def destroy(self) -> None:
        """Release programs, blobs and open data files."""
        self.destroyed = True
        self._programs.clear()
        self._last = None
        self.predictions.clear()
        self.feeds.close()
