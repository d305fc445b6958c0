"""`Net`: layers on a system, built once, compiled when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from mocha_core import checks
from mocha_core.compile.budget import taking
from mocha_core.compile.program import Program, Schedule, Stop
from mocha_core.describe.layer import DataLayer, Layer
from mocha_core.describe.parameter import Parameter, State
from mocha_core.errors import DataError, ShapeError, StateError
from mocha_core.graph.cells import Cell
from mocha_core.graph.commit import commit_updates
from mocha_core.graph.plan import Phase, Plan, Section, Statistic
from mocha_core.graph.value import Spec
from mocha_core.net import listing
from mocha_core.net.blob import Blob, Named
from mocha_core.net.feed import Feed, Feeds
from mocha_core.net.prediction import Rows
from mocha_core.net.recorder import Recorder
from mocha_core.net.system import System
from mocha_core.net.topology import sort
from mocha_core.plugin.construction import Constructed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.train.solver import Solver


class ProgramKey(NamedTuple):
    """What a compiled program depends on besides the layers."""

    phase: Phase
    batch: int | None = None
    outputs: tuple[str, ...] = ()
    frozen: frozenset[str] = frozenset()
    solver: Solver | None = None
    rule: object = None
    minibatches: int = 1
    apart: bool = False


class Net(metaclass=Constructed):
    """A net: its layers in order, their blobs and parameters, and the programs that run them.

    A net serves one thread at a time: its runs share buffers. Several nets of one system may share parameters.

    Args:
        name: shown in logs and errors.
        system: where it runs, and who owns its parameters.
        layers: in any order. The same layer object in several nets of a system shares its parameters.
        keep: blobs that can be read after any run, at the price of memory and fusion.

    Raises:
        MochaError: the layers do not form a net, or their shapes do not fit; says which and why.
    """

    #: Compiled programs that are kept; the least recently used goes first.
    MAX_PROGRAMS = 8

    def __init__(self, name: str, system: System, layers: Iterable[Layer], *, keep: Sequence[str] = ()) -> None:
        checks.instance(f"Net '{name}'", "system", system, System, "mocha.System('cpu')").check_open()
        self.name = name
        self.system = system
        self.layers = sort(name, layers)
        self.label = f"Net '{name}'"
        self.keep = checks.names(self.label, "keep", keep)
        self.feeds = Feeds()
        self.frozen: frozenset[str] = frozenset()
        self._programs: OrderedDict[ProgramKey, Program] = OrderedDict()
        self._last: Program | None = None
        self._destroyed = False
        self._finished: Section | None = None
        self.half_updated = False
        """Whether an iteration ended between its updates: some parameters are one update ahead."""
        self._recorder = Recorder(name, system, self.layers, self.feeds)
        try:
            for layer in self.layers:
                if isinstance(layer, DataLayer):
                    source = layer.open(system.seed)
                    self.feeds[layer.name] = Feed(layer, source, system.dtype, system.seed)
            self.feeds.join()
            self.plan: Plan = self._recorder.record(Phase.TRAIN)
            if self.plan.objective is not None:
                self.feeds.check_batch()
            for kept in self.keep:
                checks.known(self.label, "blob", kept, self.plan.blobs)
            system.storage.allocate((state.value for state in self._recorder.new), self.label)
            for state in self._recorder.new:
                state.initialize()
        except BaseException:
            self._recorder.forget_new()
            self.feeds.close()
            raise
        self._recorder.new.clear()
        system.nets.add(self)
        from mocha_core.plugin.manager import plugin_manager

        plugin_manager().hook.mocha_net_built(net=self)

    # What it is made of.

    @property
    def blobs(self) -> dict[str, Blob]:
        """The blobs by name, as the last run left them."""
        return Named(self.label, "blob", {name: Blob(self, name) for name in self.plan.blobs})

    @property
    def parameters(self) -> dict[str, dict[str, Parameter]]:
        """Parameters by layer and name, such as `net.parameters["conv1"]["filter"]`."""
        groups: dict[str, dict[str, Parameter]] = {}
        for layer, group in self._recorder.owned.items():
            items = {name: state for name, state in group.items() if isinstance(state, Parameter)}
            if items:
                groups[layer] = Named(f"Layer '{layer}'", "parameter", items)
        return Named(self.label, "layer with parameters", groups)

    @property
    def states(self) -> dict[str, State]:
        """Parameters and states, each once, by the name they have in files: `conv1___filter`."""
        return self._recorder.states()

    def gradient(self, layer: str, name: str) -> NDArray[Any]:
        """The gradient of a parameter that the last `backward` computed, without regularization."""
        parameter = self.parameters[layer][name]
        program = self.last_program()
        value = program.plan.gradients.get(parameter.value)
        if value is None or value not in program.memory.buffers or self._finished is not Section.BACKWARD:
            raise StateError(
                f"{self.label}: no gradient of '{parameter.key}' was computed. Call net.forward() and net.backward(); "
                "frozen layers, and those that reach no loss, have none."
            )
        return program.read(value, value.name)

    @property
    def epoch(self) -> int:
        """How often the first data layer's source has been consumed."""
        return self.feeds.first.epoch

    def iterations_to_epoch(self, minibatches: int) -> int:
        """How many iterations of so many minibatches until `epoch` changes."""
        feed = self.feeds.first
        return -(-feed.batches_to_epoch(feed.layer.batch_size) // minibatches)

    def freeze(self, *layers: str) -> None:
        """Stop learning the parameters of these layers; gradients still flow through them."""
        self._check_layers(layers)
        self.frozen |= set(layers)

    def unfreeze(self, *layers: str) -> None:
        """Learn the parameters of these layers again; of all layers when none is named."""
        self._check_layers(layers)
        self.frozen = self.frozen - set(layers) if layers else frozenset()

    def _check_layers(self, names: Iterable[str]) -> None:
        for name in names:
            checks.known(self.label, "layer", name, (layer.name for layer in self.layers))

    def summary(self) -> str:
        """A table of layers, output shapes and parameter counts, with bytes."""
        return listing.summary(self)

    def __reduce__(self) -> NoReturn:
        raise StateError(f"{self.label} cannot be copied or pickled. Build another Net of net.layers, on a System.")

    def __str__(self) -> str:
        return listing.architecture(self)

    # Programs.

    def program(self) -> Program:
        """The program that ran last, or else that of `forward` and `backward`."""
        return self._last or self._program(ProgramKey(Phase.TRAIN, frozen=self.frozen, apart=True))

    def programs(self) -> dict[ProgramKey, Program]:
        """The programs compiled so far."""
        return dict(self._programs)

    def last_program(self) -> Program:
        """The program that ran last.

        Raises:
            StateError: none has run yet.
        """
        self._check_usable()
        if self._last is None:
            raise StateError(f"{self.label} has not run yet. Call net.forward() first.")
        return self._last

    def check_whole(self) -> None:
        """Raise `StateError` where an iteration ended between its updates."""
        if self.half_updated:
            raise StateError(
                f"{self.label}: an iteration ended between its updates, and some parameters are one update ahead "
                "of the others. Load a snapshot: a new solver with a coffee.Snapshot does it. Or build the net anew."
            )

    def _check_usable(self) -> None:
        self.system.check_open()
        if self._destroyed:
            raise StateError(f"{self.label} was destroyed. Build a new Net.")

    def _program(self, key: ProgramKey) -> Program:
        self._check_usable()
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self.system.backend.compile(self.record(key), self.system.storage)
            if len(self._programs) > self.MAX_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return program

    def record(self, key: ProgramKey) -> Plan:
        """The steps of the program with this key."""
        keep = tuple(self.plan.blobs) if key.apart else (*self.keep, *key.outputs)
        plan = self._recorder.record(key.phase, batch=key.batch, keep=keep, inputs=bool(key.outputs))
        plan.apart, plan.minibatches = key.apart, key.minibatches
        if key.outputs:
            plan.prune([plan.blobs[name] for name in key.outputs])
            plan.objective = None
        elif key.phase is Phase.TRAIN:
            self._recorder.train(plan, key.solver, key.frozen)
        commit_updates(plan, partial(self._recorder.cell, Cell.STATUS))
        self._recorder.upload(plan)
        return plan

    # Running.

    def forward(self, phase: Phase = Phase.TRAIN) -> float:
        """Run the next minibatch forward; all blobs can be read afterwards. Returns the objective."""
        checks.instance(self.label, "phase", phase, Phase, "Phase.TEST")
        program = self._program(ProgramKey(phase, frozen=self.frozen, apart=True))
        self._last, self._finished = program, None
        self.feeds.begin(wrap=True)
        program.start_anew()
        program.run(Section.FORWARD, self.schedule(program, 1, self.feeds.first.cursor // program.plan.batch))
        self.raise_fault(program)
        self.feeds.advance(1)
        self._finished = Section.FORWARD
        return float(program.objectives[0]) if len(program.objectives) else 0.0

    def backward(self) -> None:
        """Run the minibatch of the last `forward` backward, for the gradients of all parameters."""
        program = self.last_program()
        if not program.plan.apart or program.plan.phase is not Phase.TRAIN or self._finished is None:
            raise StateError(f"{self.label}: call net.forward() right before net.backward().")
        program.run(Section.BACKWARD)
        self._finished = Section.BACKWARD

    def training_program(self, solver: Solver) -> Program:
        """The program of whole iterations with a solver's updates. Used by `Solver.solve`."""
        minibatches = solver.parameters.accumulate
        # Held by the ops of the program with this key, a regularizer or constraint keeps its id.
        updates = [(p.key, p.multiplier, id(p.regularizer), id(p.constraint)) for p in self._recorder.parameters()]
        rule = solver.rule, tuple(updates)
        return self._program(ProgramKey(Phase.TRAIN, None, (), self.frozen, solver, rule, minibatches))

    def train(self, program: Program, n: int, iteration: int, cells: Schedule, stop: Stop | None = None) -> None:
        """Run `n` iterations of a training program, from number `iteration` on; sets `program.done`.

        `cells` holds the values of the solver's cells, one per iteration; `stop` is `Program.iterate`'s.
        """
        program.done = 0
        k = program.plan.minibatches
        schedule = self.schedule(program, n * k, iteration) | {name: np.repeat(c, k) for name, c in cells.items()}
        self._last, self._finished = program, None
        self.feeds.begin(wrap=True, minibatches=n * k)
        try:
            # Numbers that are not finite are found by the checks of the program and the solver, which name them.
            with np.errstate(all="ignore"):
                program.iterate(n, schedule, stop)
            self._finished = Section.BACKWARD
        finally:
            self.half_updated = self.half_updated or program.half_updated
            self.feeds.advance(program.done * k)

    def forward_epoch(self) -> float:
        """Run the whole data set once, from its beginning, in the test phase.

        Statistics then cover exactly its rows; the cursors stay where they were. Returns the mean objective.
        """
        program = self._program(ProgramKey(Phase.TEST))
        feed, batch = self.feeds.first, program.plan.batch
        self.reset_statistics()
        with self.feeds.rewound():
            n = feed.batches_to_epoch(batch)
            valid = np.minimum(batch, feed.source.rows - batch * np.arange(n))
            self.feeds.begin(wrap=False, minibatches=n)
            program.start_anew()
            program.iterate(n, self.schedule(program, n, 0, wrap=False) | {Cell.VALID_ROWS: valid})
            self._last = program
            self.raise_fault(program)
        return float(np.average(program.objectives, weights=valid))

    def predict(self, data: Any, output: str, *, batch_size: int | None = None) -> NDArray[Any]:
        """The blob `output` for any number of rows, in the test phase.

        Args:
            data: an array with one row per sample, or a dict of arrays by blob name where `output` depends
                on several tops of data layers. They are the contents of blobs: a data layer's transformers are not
                applied to them.
            output: a blob name.
            batch_size: rows computed at once; by default, up to the data layer's batch size.

        Raises:
            UnknownNameError: there is no such blob.
            ShapeError: the rows do not have the shape the net was built for.
        """
        checks.known(self.label, "blob", output, self.plan.blobs)
        limit = self.feeds.first.layer.batch_size if batch_size is None else batch_size
        checks.integer(self.label, "batch_size", limit)
        rows = Rows(self.label, data)
        batch = min(limit, max(rows.count, 1))
        program = self._program(ProgramKey(Phase.TEST, batch, (output,)))
        rows.check(program.plan.inputs)
        value = program.plan.blobs[output]
        if value.shape[:1] != (batch,):
            raise ShapeError(
                f"{self.label}: expected a blob with a row for each sample, but '{output}' has shape {value.shape}. "
                "Read it from net.blobs after net.forward()."
            )

        def predicted(start: int) -> NDArray[Any]:
            for name, part in rows.batch(start, batch).items():
                program.write(program.plan.inputs[name], part)
            program.start_anew()
            program.iterate(1, {Cell.VALID_ROWS: np.asarray([min(batch, rows.count - start)])})
            self._last = program
            self.raise_fault(program)
            return program.read(value, output)

        if rows.count == batch:
            return predicted(0)
        spec = Spec((rows.count, *value.shape[1:]), value.dtype)
        with taking(f"{self.label}, predictions", [(output, spec)], "Predict fewer rows at once."):
            result = np.empty(*spec)
        for start in range(0, rows.count, batch):
            result[start : start + batch] = predicted(start)[: rows.count - start]
        return result

    def schedule(self, program: Program, n: int, iteration: int, wrap: bool = True) -> dict[str, NDArray[Any]]:
        """Values of the cells that every run needs, for n minibatches."""
        k, batch = program.plan.minibatches, program.plan.batch
        resident = {name: feed for name, feed in self.feeds.items() if f"{name}.rows" in program.plan.cells}
        columns = [("cells", Spec((n, 8), "int64")), *((name, Spec((n, batch), "int64")) for name in resident)]
        with taking(f"{self.label}, {n:,} minibatches at once", columns, "Accumulate fewer of them."):
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

    def discard(self, program: Program) -> None:
        """Forget the fault of a program's last minibatch, and the gradients that it left."""
        program.clear_status()
        self._finished = None

    def raise_fault(self, program: Program) -> None:
        """Raise what a kernel reported in the status cell, in words.

        Raises:
            DataError: names the layer and what is wrong with its input.
        """
        call = program.fault()
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

    # Statistics.

    def statistics(self) -> dict[str, float]:
        """Means since the last reset by name, such as "test-accuracy-accuracy": 0.9605 (a fraction)."""
        return {f"{s.layer}-{s.key}": mean for s, mean, _ in self._means()}

    def reset_statistics(self) -> None:
        """Start all means anew."""
        for statistic in self.plan.statistics:
            self.system.storage.allocate([statistic.total])
            self.system.backend.copy_from_numpy(self.system.storage[statistic.total], np.zeros(2))

    def show_statistics(self) -> list[str]:
        """The means as Mocha words them: `Accuracy (avg over 10000) = 96.0500%`."""
        lines = []
        for statistic, mean, count in self._means():
            shown = f"{mean:.4%}" if statistic.percent else f"{mean:.4f}"
            lines.append(f"{statistic.label} (avg over {count:.0f}) = {shown}")
        return lines

    def _means(self) -> Iterable[tuple[Statistic, float, float]]:
        for statistic in self.plan.statistics:
            total, count = self.system.read(statistic.total)
            yield statistic, float(total / count) if count else float("nan"), float(count)

    def destroy(self) -> None:
        """Release programs, blobs and open data files. Parameters stay with their layers."""
        self._destroyed = True
        self._programs.clear()
        self._last = None
        self.feeds.close()
