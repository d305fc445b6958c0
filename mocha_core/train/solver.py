"""`Solver`: trains a net and takes coffee breaks. Its `UpdateOp` updates one parameter."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import nan
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from mocha_core import checks
from mocha_core.describe.parameter import Parameter
from mocha_core.errors import BackendError, ConfigurationError, NonFiniteError, StateError
from mocha_core.graph.cells import Cell
from mocha_core.graph.structural import CheckFinite
from mocha_core.graph.value import Role, Value
from mocha_core.host import forks
from mocha_core.host.interrupt import Interruptible, Stopped, finishing
from mocha_core.log import logger, messages
from mocha_core.net.net import Net
from mocha_core.plugin.construction import Constructed, Settled
from mocha_core.plugin.manager import plugin_manager, registries
from mocha_core.train.coffee_break import CoffeeBreak, ScheduledBreak
from mocha_core.train.diagnosis import non_finite
from mocha_core.train.parameters import LARGEST, policies
from mocha_core.train.parameters import Hyperparameter as Hyperparameter
from mocha_core.train.parameters import Policy as Policy
from mocha_core.train.parameters import SolverParameters as SolverParameters
from mocha_core.train.parameters import evaluate as evaluate
from mocha_core.train.update import UpdateOp as UpdateOp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.describe.builder import UpdateBuilder


@dataclass
class SolverState:
    """The progress of a solver.

    Attributes:
        iteration: the number of iterations done.
        objective: the objective of the minibatch before the last update; NaN before the first update.
        cells: the numbers that the last update read, by name ("learning_rate", "momentum"); NaN before the first.

    All but `iteration` report past values and cannot be assigned.
    """

    iteration: int = 0
    objective: float = nan
    cells: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        vars(self)["cells"] = MappingProxyType(dict(self.cells))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update; NaN before the first."""
        return self.cells.get("learning_rate", nan)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "iteration":
            value = checks.integer("solver.state", name, value, at_least=0, at_most=LARGEST)
        elif name in vars(self) or name not in self.__dataclass_fields__:
            raise StateError(
                f"solver.state.{name} cannot be set: it reports a past value. A Policy sets the learning "
                "rate and the momentum; in a coffee break, `solver.parameters = dataclasses.replace("
                "solver.parameters, lr_policy=...)` gives another one."
            )
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return SolverState, (self.iteration, self.objective, dict(self.cells))


class Solver(Settled, metaclass=Constructed):
    """Runs a net's training program and takes coffee breaks in between. Subclasses name their `update_op`.

    Attributes:
        listeners: functions called with a dict for each event that a coffee break publishes.
    """

    _way_out = (
        "It is told by `solver.parameters = dataclasses.replace(solver.parameters, lr_policy=...)`, add_coffee_break() "
        "and listeners.append(). A solver of your own sets all its attributes in __init__."
    )
    _reports = frozenset({"breaks", "listeners"})
    #: What updates one parameter.
    update_op: ClassVar[type[UpdateOp]]
    #: The numbers, besides the learning rate, that the rule reads, by the names of their cells.
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}
    #: The most iterations that one call of a program runs.
    MAX_RUN: ClassVar[int] = 1000

    def __init__(self, parameters: SolverParameters) -> None:
        self.parameters = parameters
        self.state = SolverState(cells=dict.fromkeys(self.policies, nan))
        self.breaks: list[ScheduledBreak] = []
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._slots: dict[tuple[str, Parameter], Value] = {}
        self._stop = np.zeros(1, np.int32)
        self._user = RLock()
        self._solving = 0
        forks.renew_in_child(self)

    def renew_locks(self) -> None:
        self._user = forks.renewed(self._user)

    @property
    def parameters(self) -> SolverParameters:
        """Its options; may be replaced between two `solve`s.

        Raises:
            ConfigurationError: the solver does not have one of the options.
        """
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: SolverParameters) -> None:
        name = type(self).__name__
        if not isinstance(parameters, SolverParameters):
            raise ConfigurationError(
                f"{name}: expected SolverParameters(max_iter=...), received {checks.shown(parameters)}."
            )
        #: What decides the value of each of its cells.
        self.policies = policies(name, self.hyperparameters, parameters)
        self._parameters = parameters

    @property
    def state(self) -> SolverState:
        """Its progress; a second `solve` continues from there.

        Raises:
            ConfigurationError: something else than a SolverState is assigned.
        """
        return self._state

    @state.setter
    def state(self, state: SolverState) -> None:
        example = "dataclasses.replace(solver.state, iteration=0)"
        self._state: SolverState = checks.instance(type(self).__name__, "state", state, SolverState, example)

    def update(self, b: UpdateBuilder, parameter: Parameter, gradient: Value) -> None:
        """Record the update of one parameter, whose slots are `self.slot(parameter, name)`."""
        op = self.update_op(
            multiplier=parameter.multiplier,
            regu_coef=self.parameters.regu_coef,
            regularizer=parameter.regularizer,
            constraint=parameter.constraint,
            fault=b.fault_code() if self.parameters.check_finite else 0,
            **self.options,
        )
        slots = (self.slot(parameter, name) for name in op.slots)
        cells = (b.cell(name) for name in (*op.cells, Cell.STATUS))
        b.call(op, parameter.value, gradient, *slots, *cells, layer=parameter.layer)

    @property
    def options(self) -> Mapping[str, Any]:
        """Fields of the update op that only this kind of solver has, such as {"epsilon": 1e-8}."""
        return {}

    @property
    def rule(self) -> Hashable:
        """A key of all that recorded updates depend on, except scheduled cells; a change recompiles programs."""
        given = self.parameters
        return given.regu_coef, given.check_finite, given.clip_norm, given.clip_value, *self.options.items()

    def exchange(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record changes to all gradients before the updates, with `b.exchange`; by default, clipping."""
        given, gradients = self.parameters, [b.gradient(parameter) for parameter in parameters]
        for name, limit in (("clip_norm", given.clip_norm), ("clip_value", given.clip_value)):
            if limit is None:
                continue
            if name not in registries().ops.names():
                raise ConfigurationError(
                    f"SolverParameters({name}={limit}): no installed plugin has the op '{name}'. Install it: "
                    "pip install mocha-solvers-std."
                )
            norm = b.exchange(registries().ops.get(name)(limit, len(gradients)), *gradients)
            if norm and given.check_finite:
                b.exchange(CheckFinite(b.fault_code()), *norm, b.cell(Cell.STATUS))

    def record(self, b: UpdateBuilder, parameters: Sequence[Parameter]) -> None:
        """Record the updates of all parameters, and allocate their slots."""
        self.make_slots(parameters)
        for parameter in parameters:
            self.update(b, parameter, b.gradient(parameter))

    def make_slots(self, parameters: Sequence[Parameter]) -> None:
        """Allocate the slots that parameters do not have yet, zeroed."""
        new = {
            (name, p): Value(f"{name} {p.key}", p.value.shape, p.value.dtype, Role.SLOT)
            for name in self.update_op.slots
            for p in parameters
            if (name, p) not in self._slots
        }
        if new:
            parameters[0].system.storage.allocate(new.values(), type(self).__name__)
            self._slots |= new

    def slot(self, parameter: Parameter, name: str) -> Value:
        """A slot of a parameter."""
        return self._slots[name, parameter]

    def memories(self, net: Net) -> dict[str, Value]:
        """The slots of a net's parameters by `name/layer___parameter`."""
        return {f"{n}/{p.key}": v for (n, p), v in self._slots.items() if p is net.states.get(p.key)}

    def schedule(self, first: int, n: int) -> dict[str, NDArray[Any]]:
        """The values of the solver's cells for n iterations from number `first` on."""
        iterations = range(first, first + n)
        return {
            name: np.asarray([evaluate(policy, i) for i in iterations], float) for name, policy in self.policies.items()
        }

    def add_coffee_break(self, coffee: CoffeeBreak, *, every_n_iter: int = 0, every_n_epoch: int = 0) -> None:
        """Take a break at iteration 0, at every multiple, and at the last iteration.

        Raises:
            ConfigurationError: neither or both intervals are given, or `coffee` is not a coffee break.
            StateError: `solve` is running: the break would not be initialized.
        """
        if self._solving:
            raise StateError(
                f"{type(self).__name__}: {checks.shown(coffee)} was added while solve is running, which initializes "
                "all breaks before its first iteration. Add it before, or stop() and solve again."
            )
        checks.instance(type(self).__name__, "coffee", coffee, CoffeeBreak, "coffee.TrainingSummary()")
        if any(scheduled.coffee is coffee for scheduled in self.breaks):
            raise ConfigurationError(
                f"{type(self).__name__}: {coffee} was added twice. Make another one for another interval."
            )
        self.breaks.append(ScheduledBreak(coffee, every_n_iter, every_n_epoch))

    def publish(self, event: str, **facts: Any) -> None:
        """Tell every listener of an event: {"event": ..., "iteration": ..., **facts}."""
        for listener in self.listeners:
            listener({"event": event, "iteration": self.state.iteration, **facts})

    def stop(self) -> None:
        """Let `solve` finish the current iteration, take the breaks that are due, and return.

        It may be called at any time from any thread, a signal handler or a coffee break. If it is called before
        `solve`, `solve` returns after its first coffee breaks.
        """
        self._stop[0] = 1

    def solve(self, net: Net, *, signals: str | Sequence[str] = ()) -> None:
        """Train until `max_iter`. Solving again continues; parameters are initialized only once.

        In the main thread, SIGINT (Ctrl-C), SIGTERM and SIGHUP stop the run as `stop` does. `solve` then raises an
        exception that ends the process with status 130, 143 or 129. Coffee breaks, compiling and waits for data are
        abandoned if they take longer than half a second; saving the run is always finished. A second signal ends the
        process within a second. A program's own signal handlers stay, except those of an event loop that `solve`
        blocks.

        Args:
            net: the net to train.
            signals: names of more signals with the same effect, such as "SIGUSR1", which batch systems send.

        Raises:
            MochaError: the net cannot be trained, a minibatch is invalid, or one of `signals` cannot be handled.
            StateError: the solver or the net is in use by another thread.
            KeyboardInterrupt: SIGINT came.
            SystemExit: another signal came.
        """
        checks.instance(type(self).__name__, "net", net, Net, "mocha.Net('train', system, layers)")
        chosen = [signals] if isinstance(signals, str) else signals
        if not isinstance(chosen, Sequence) or not all(isinstance(name, str) for name in chosen):
            raise ConfigurationError(
                f"{type(self).__name__}: expected signals to be names such as 'SIGUSR1', received "
                f"{checks.shown(signals)}."
            )
        if not self._user.acquire(blocking=False):
            raise StateError(
                f"This {type(self).__name__} trains in another thread. Give each thread a solver of its own: "
                f"{type(self).__name__}(solver.parameters)."
            )
        self._solving += 1
        try:
            with net.runs.using(), messages, Interruptible(self._stop, chosen):
                self._solve(net)
        finally:
            self._solving -= 1
            self._user.release()

    def __repr__(self) -> str:
        at, most = self.state.iteration, self.parameters.max_iter
        return f"<{type(self).__name__} at iteration {at:,} of {most:,}, {len(self.breaks)} coffee breaks>"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"A solver cannot be copied or pickled: its slots belong to a System. Make another, "
            f"{type(self).__name__}(solver.parameters); a coffee.Snapshot saves where it is."
        )

    def _solve(self, net: Net) -> None:
        hook = plugin_manager().hook
        net.feeds.check_batch()
        with ExitStack() as stack:
            for scheduled in self.breaks:
                stack.push(partial(self._destroy, scheduled.coffee, net))
                scheduled.coffee.init(self, net)
            net.runs.check_whole()
            hook.mocha_solve_started(solver=self, net=net)
            if not self._iterate(net):
                logger.info("Stopping at iteration %d of %d", self.state.iteration, self.parameters.max_iter)
                with finishing():
                    for scheduled in self.breaks:
                        scheduled.coffee.stopped(self, net)
            hook.mocha_solve_finished(solver=self, net=net)

    def _iterate(self, net: Net) -> bool:
        """Iterate and take breaks until `max_iter` or a stop; return whether `max_iter` was reached."""
        try:
            for scheduled in self.breaks:
                scheduled.begin(net.epoch)
            if self.state.iteration == 0:
                self._take_breaks(net)
            elif self.state.iteration >= self.parameters.max_iter:
                logger.info("Already at iteration %d of %d", self.state.iteration, self.parameters.max_iter)
            while self.state.iteration < self.parameters.max_iter and not self._stop[0]:
                self._run(net, self._iterations_to_break(net))
                self._take_breaks(net)
        except Stopped:
            return False
        return self.state.iteration >= self.parameters.max_iter

    def _destroy(self, coffee: CoffeeBreak, net: Net, kind: object, error: BaseException | None, *_: object) -> None:
        """Destroy a break. If the run has failed already, an error of the break becomes a note on the run's error."""
        try:
            with finishing():
                coffee.destroy(self, net)
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"Afterwards, {type(coffee).__name__}.destroy failed: {type(late).__name__}: {late}")

    def _run(self, net: Net, n: int) -> None:
        state, k = self.state, self.parameters.accumulate
        cells = self.schedule(state.iteration, n)
        program = net.runs.training_program(self)
        try:
            with finishing():
                net.runs.train(program, n, state.iteration, cells, self._stop)
        finally:
            if done := program.done:
                state = self.state = SolverState(
                    iteration=state.iteration + done,
                    objective=float(np.mean(program.objectives[(done - 1) * k : done * k])),
                    cells={name: float(cells[name][done - 1]) for name in self.policies},
                )
        if (fault := program.faulty_call()) is not None and isinstance(fault.op, CheckFinite | UpdateOp):
            net.runs.discard(program)
            net.runs.half_updated = isinstance(fault.op, UpdateOp)
            raise non_finite(self, net, program, fault)
        net.runs.raise_fault(program)
        if not done and not self._stop[0]:
            raise BackendError(
                f"{net.runs.label}: backend '{net.system.backend.name}' did no iteration and reported no fault. "
                "The iterate() of its programs has to set `done`, and the status cell where it ends early."
            )
        objectives = program.objectives[: done * k]
        if not np.isfinite(objectives).all():
            bad = state.iteration - done + int(np.argmin(np.isfinite(objectives))) // k
            raise NonFiniteError(
                f"{net.runs.label}: the objective is not finite since iteration {bad}. "
                "SolverParameters(check_finite=True) stops there, and names the layer."
            )

    def _iterations_to_break(self, net: Net) -> int:
        left = self.parameters.max_iter - self.state.iteration
        to_epoch = net.runs.iterations_to_epoch(self.parameters.accumulate)
        until = (s.iterations_left(self.state.iteration, to_epoch) for s in self.breaks)
        return min(left, self.MAX_RUN, *until)

    def _take_breaks(self, net: Net) -> None:
        last = self.state.iteration >= self.parameters.max_iter
        for scheduled in self.breaks:
            if scheduled.due(self.state.iteration, net.epoch) or last:
                with finishing() if scheduled.coffee.must_finish else nullcontext():
                    scheduled.coffee.enjoy(self, net)
