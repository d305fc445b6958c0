"""`Recorder`: turns a net's layers into plans, and remembers the values that outlive one plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mocha_core import checks
from mocha_core.describe.builder import Builder, UpdateBuilder
from mocha_core.describe.layer import ComputationLayer, DataLayer, Layer
from mocha_core.describe.parameter import Initializer, Parameter, State
from mocha_core.errors import ConfigurationError, MochaError, ShapeError, TopologyError
from mocha_core.graph import cells
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Phase, Plan, Section
from mocha_core.graph.structural import CheckFinite, Fill, Gather, Objective
from mocha_core.graph.value import Role, Spec, Value
from mocha_core.log import logger
from mocha_core.net.feed import Feed, Feeds
from mocha_core.net.fetch import Fetch
from mocha_core.plugin.manager import plugin_manager
from mocha_core.suggestions import channels_last

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mocha_core.net.system import System
    from mocha_core.net.trainer import Trainer


class Recorder:
    """Records plans for one net.

    Attributes:
        owned: parameters and states by layer and name, shared ones included.
        new: those that this net made and that are not initialized yet.
        cells: the net's cells by name.
        gradients: the gradient of each parameter, in an arena of the net.
    """

    def __init__(self, name: str, system: System, layers: Sequence[Layer], feeds: Feeds) -> None:
        self.name = name
        self.system = system
        self.dtype, self.seed = system.dtype, system.seed
        self.layers = layers
        self.feeds = feeds
        self.owned: dict[str, dict[str, State]] = {}
        self._by_key: dict[str, State] = {}
        self.new: list[State] = []
        self.cells: dict[str, Value] = {}
        self.gradients: dict[Value, Value] = {}
        self._warned: set[str] = set()
        self._tables: dict[str, list[Value]] = {}
        self._uploaded: set[str] = set()
        self._cells = self.cells

    def record(self, phase: Phase, *, batch: int | None = None, keep: Sequence[str] = (), inputs: bool = False) -> Plan:
        """Record a plan with the forward steps.

        Args:
            phase: the phase that the plan is for.
            batch: rows per minibatch; None: the batch size of the data layers.
            keep: tops that can be read after a run.
            inputs: data comes from Python, not from the data layers' sources.

        Raises:
            MochaError: a layer cannot be built; names it, its bottoms and their shapes.
        """
        if not self.feeds:
            raise TopologyError(f"Net '{self.name}' has no data layer. Add one, such as a MemoryDataLayer.")
        plan = Plan(phase, self.feeds.first.layer.batch_size if batch is None else batch, self.name)
        self._batch, self._inputs = batch, inputs
        # Several threads may predict at once, so each program has its own cells.
        self._cells = {} if inputs else self.cells
        for layer in self.layers:
            self._record_layer(plan, layer, keep)
        if plan.losses:
            op = Objective(tuple(weight for _, weight in plan.losses))
            (plan.objective,) = plan.call(op, *(value for value, _ in plan.losses), layer="(net)")
            plan.objective.keep = True
        return plan

    def _record_layer(self, plan: Plan, layer: Layer, keep: Sequence[str]) -> None:
        bottoms = [plan.blobs[name] for name in layer.bottoms]
        builder = Builder(self, plan, layer)
        try:
            tops = layer.build(builder, *bottoms)
            if not isinstance(tops, tuple | list) or not all(isinstance(top, Value) for top in tops):
                raise TopologyError(
                    f"build returned {checks.shown(tops)}, expected a tuple with a value for each top, such as "
                    "b.call(op, x)."
                )
            if isinstance(layer, ComputationLayer) and layer.neuron is not None:
                tops = tuple(layer.neuron.build(builder, top) for top in tops)
            if len(tops) != len(layer.tops):
                raise TopologyError(
                    f"expected {len(tops)} tops, received {len(layer.tops)} ({', '.join(layer.tops) or 'none'})."
                )
            for name, value in zip(layer.tops, tops, strict=True):
                if value.spec.size == 0:
                    raise ShapeError(f"its top '{name}' would be {value.spec}, which has no elements.")
        except Exception as error:
            given = ", ".join(f"'{n}' {v.spec}" for n, v in zip(layer.bottoms, bottoms, strict=True))
            where = f"{layer} in net '{self.name}', bottoms {given or 'none'}"
            if not isinstance(error, MochaError | TypeError):  # a bug in the layer: its author needs the original error
                error.add_note(where)
                raise
            kind = type(error) if isinstance(error, MochaError) else TopologyError
            images = isinstance(error, ShapeError) and any(len(bottom.shape) == 4 for bottom in bottoms)
            hint = self._channels_last(plan) if images else ""
            raise kind(f"{where}: {error}{hint}") from error
        for name, value in zip(layer.tops, tops, strict=True):
            plan.blobs[name] = value
            value.root.keep = value.root.keep or name in keep

    def _channels_last(self, plan: Plan) -> str:
        """A hint that data may have its channels last: the error shows only in a later layer."""
        tops = [top for layer in self.layers if isinstance(layer, DataLayer) for top in layer.tops]
        given = {top: plan.blobs[top].spec for top in tops if top in plan.blobs}
        hints = (f" Blob '{top}' {spec} {hint}" for top, spec in given.items() if (hint := channels_last(spec.shape)))
        return next(hints, "")

    def warn(self, message: str) -> None:
        """Log a warning about the net, unless it was logged before."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def train(self, plan: Plan, solver: Trainer | None, frozen: frozenset[str]) -> None:
        """Append the backward steps and, for a solver, its updates."""
        wanted = {p.value: self.gradient(p) for p in self.parameters() if not self._frozen(p, frozen)}
        if plan.objective is None:
            if solver is not None:
                raise TopologyError(
                    f"Net '{self.name}' cannot be trained: it has no loss layer. Add one, such as SoftmaxLossLayer."
                )
            return
        if solver is not None and solver.parameters.check_finite:
            plan.cells[Cell.STATUS] = self.cell(Cell.STATUS)
            written = dict.fromkeys(value.root for step in plan.steps for value in step.writes)
            states = [v for v in written if v.role is Role.STATE and v.dtype in ("float32", "float64")]
            for value in (plan.objective, *states):
                plan.call(CheckFinite(plan.fault_code()), value, plan.cells[Cell.STATUS], layer="(net)")
        seed = self.cell(Cell.OBJECTIVE_GRADIENT, (), plan.objective.dtype)
        plan.cells[Cell.OBJECTIVE_GRADIENT] = seed
        plan.differentiate(plan.objective, seed, wanted)
        if solver is None:
            return
        reached = [p for p in self.parameters() if p.value in wanted and p.value in plan.gradients]
        if not reached:
            raise TopologyError(
                f"Net '{self.name}' has nothing to learn: no parameter that is not frozen reaches a loss."
            )
        if plan.minibatches > 1:
            clearing = Plan(plan.phase, plan.batch)
            for p in reached:
                clearing.call(Fill(0.0), plan.gradients[p.value], layer=p.layer, section=Section.CLEAR)
            plan.steps[:0] = clearing.steps
        builder = UpdateBuilder(self, plan, solver.schedule(0, 1))
        plugin_manager().hook.mocha_record_exchange(b=builder, solver=solver, parameters=reached)
        solver.exchange(builder, reached)
        solver.record(builder, reached)

    def _frozen(self, parameter: Parameter, frozen: frozenset[str]) -> bool:
        return any(parameter in self.owned[layer].values() for layer in frozen if layer in self.owned)

    def states(self) -> dict[str, State]:
        """Parameters and states, each once and in the order of the layers, by their names in files."""
        return {s.key: s for group in self.owned.values() for s in group.values()}

    def parameters(self) -> list[Parameter]:
        """Each parameter once, in the order of the layers."""
        return [s for s in self.states().values() if isinstance(s, Parameter)]

    def gradient(self, parameter: Parameter) -> Value:
        """The value that holds the gradient of a parameter."""
        if parameter.value not in self.gradients:
            role = Role.PARAMETER_GRADIENT
            made = {p.value: Value(f"d {p.key}", p.value.shape, p.value.dtype, role) for p in self.parameters()}
            self.system.storage.allocate(made.values(), f"Net '{self.name}'")
            self.gradients = made
        return self.gradients[parameter.value]

    def share(
        self,
        kind: type[State],
        layer: Layer,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        dtype: str | None = None,
        **more: Any,
    ) -> Value:
        """The value of a parameter or state: the one that the layer (or its `param_key`) has, or a new one."""
        group = self.system.states_of(layer)
        dtype = dtype or self.system.dtype
        state = group.get(name)
        if state is None:
            other = next((s for s in group.values() if s.layer != layer.name), None)
            if other is not None:
                key = getattr(layer, "param_key", "")
                raise ConfigurationError(
                    f"it shares the parameters of layer '{other.layer}' by param_key '{key}', which are "
                    f"{', '.join(group)}, but needs {name}. Layers that share parameters must be of one kind; or give "
                    "this one another param_key."
                )
            value = Value(f"{layer.name}.{name}", shape, dtype, kind.ROLE)
            number = self.system.number(layer)
            state = kind(layer.name, name, value, initializer, self.system, number, **more)
            group[name] = state
            self.new.append(state)
        elif state.value.shape != shape:
            raise ShapeError(
                f"it shares parameter '{state.key}' of shape {state.value.shape}, but needs shape {shape}. Layers "
                "that share parameters must have inputs and sizes that fit; or make a copy with dataclasses.replace."
            )
        elif state.value.dtype != dtype:
            raise ShapeError(
                f"it shares state '{state.key}' of dtype {state.value.dtype}, but needs {dtype}. Give all layers of "
                "one param_key the same."
            )
        elif getattr(layer, "param_key", ""):
            check_equal(state, {"initializer": initializer, **more})
        if self._by_key.setdefault(state.key, state) is not state:
            raise TopologyError(
                f"another parameter of this net is '{state.key}' in files, too: one of the two was made by a layer "
                f"'{state.layer}' of another net, and came here by its param_key. Rename the layer '{state.layer}'."
            )
        self.owned.setdefault(layer.name, {})[name] = state
        return state.value

    def carry(self, plan: Plan, layer: Layer, name: str, row: Spec, initializer: Initializer) -> Value:
        """A value with one row per sample of the batch: the net's, or in the test phase one that only this plan has."""
        group = self.owned.setdefault(layer.name, {})
        batch = self.feeds.first.layer.batch_size
        if name not in group:
            value = Value(f"{layer.name}.{name}", (batch, *row.shape), row.dtype, Role.STATE)
            made = group[name] = State(layer.name, name, value, initializer, self.system, per_row=True)
            self._by_key[made.key] = made
            self.new.append(made)
        state = group[name]
        if not state.per_row or state.value.spec != Spec((batch, *row.shape), row.dtype):
            raise ShapeError(
                f"state '{name}' was made as {state.value.spec}, but the layer now asks for rows of {row}. Ask for the "
                "same in both phases, with any batch."
            )
        if plan.phase is Phase.TRAIN:
            return state.value
        value = Value(state.value.name, (plan.batch, *row.shape), row.dtype, Role.SHADOW)
        plan.carried[value] = state.anew
        return value

    def forget_new(self) -> None:
        """Remove from the system the parameters and states of a net that could not be built."""
        for layer in self.layers:
            self.system.forget(layer, self.new)
        self.new.clear()

    def cell(self, name: str, shape: tuple[int, ...] = (), dtype: str | None = None) -> Value:
        """The cell of that name: the net's, or in a prediction the program's own."""
        if name not in self._cells:
            dtype = dtype or cells.DTYPES.get(name, self.system.dtype)
            cell = Value(name, shape, dtype, Role.CELL)
            self.system.storage.allocate([cell], f"Net '{self.name}'")
            self._cells[name] = cell
        return self._cells[name]

    def source_values(self, plan: Plan, layer: Layer) -> tuple[Value, ...]:
        """The tops of a data layer: inputs, rows gathered on the device, or minibatches fetched from the host."""
        assert isinstance(layer, DataLayer)
        feed = self.feeds[layer.name]
        batch = layer.batch_size if self._batch is None else self._batch
        specs = feed.specs(batch)
        if len(specs) != len(layer.tops):
            raise ShapeError(
                f"expected a top for each of the {len(specs)} arrays of its source, received {len(layer.tops)} "
                f"tops ({', '.join(layer.tops)})."
            )
        if self._inputs:
            values = tuple(Value(f"{layer.name}.{top}", *s, rows=1) for top, s in zip(layer.tops, specs, strict=True))
            plan.inputs.update(zip(layer.tops, values, strict=True))
            return values
        if feed.fixed and feed.nbytes <= self.system.backend.resident_bytes:
            rows = self.cell(f"{layer.name}.rows[{batch}]", (batch,), "int64")
            plan.cells[f"{layer.name}.rows"] = rows
            tables = self._resident(feed)
            values = tuple(plan.call(Gather(), table, rows, layer=layer.name)[0] for table in tables)
        else:
            values = plan.call(Fetch(feed, specs), layer=layer.name)
        for value in values:
            value.rows = 1
        return values

    def _resident(self, feed: Feed) -> list[Value]:
        """Values for the whole source on the device."""
        name = feed.layer.name
        if name not in self._tables:
            specs = feed.specs(feed.source.rows)
            self._tables[name] = [Value(f"{name}[{i}]", *spec, Role.DATA) for i, spec in enumerate(specs)]
        return self._tables[name]

    def upload(self, plan: Plan) -> None:
        """Bring the data sets that a plan gathers from to the device, each once.

        Raises:
            MochaError: a source fails, or a data set does not fit.
        """
        gathered = {step.call.ins[0] for step in plan.steps if isinstance(step.call.op, Gather)}
        for name, tables in self._tables.items():
            if name in self._uploaded or gathered.isdisjoint(tables):
                continue
            arrays = self.feeds[name].everything()
            way_out = "Lower the backend's resident_bytes, so that minibatches are fetched from the host instead."
            self.system.storage.allocate(tables, f"Net '{self.name}'", way_out)
            for table, array in zip(tables, arrays, strict=True):
                self.system.backend.copy_from_numpy(self.system.storage[table], array)
            self._uploaded.add(name)


def check_equal(state: State, asked: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` where layers that share a parameter want it initialized or learned differently."""
    for field, wanted in asked.items():
        has = getattr(state, field, None)
        if not _alike(has, wanted):
            raise ConfigurationError(
                f"it shares '{state.key}', which has the {field} {has}, but asks for {wanted}. Give all layers of one "
                f"param_key the same {field}."
            )


def _alike(a: object, b: object) -> bool:
    try:
        return a is b or a == b or (type(a) is type(b) and hasattr(a, "__dict__") and vars(a) == vars(b))
    except ValueError:  # arrays among the fields
        return False
