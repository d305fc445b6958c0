"""`Net`: layers on a system, built once, compiled when needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mocha_core import checks
from mocha_core.compile.profiling import Profile
from mocha_core.compile.program import Program
from mocha_core.describe.layer import DataLayer, Layer
from mocha_core.describe.parameter import Parameter, State
from mocha_core.errors import ConfigurationError, StateError
from mocha_core.graph.plan import Phase, Plan, Statistic
from mocha_core.net import listing
from mocha_core.net.blob import Blob, NamedItems, States
from mocha_core.net.feed import Feed, Feeds
from mocha_core.net.profiling import profile
from mocha_core.net.recorder import Recorder
from mocha_core.net.runs import Runs
from mocha_core.net.system import System
from mocha_core.net.topology import sort
from mocha_core.net.trainer import Trainer
from mocha_core.plugin.construction import Constructed, Settled
from mocha_core.plugin.manager import plugin_manager

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Net(Settled, metaclass=Constructed):
    """A net: its layers in order, their blobs and parameters, and the programs that run them.

    Any number of threads may call `predict` at once. Only one thread at a time may run the net in another way or read
    the results of a run; a second one gets a `StateError`. `mocha.Net(name, system, net.layers)` is another net with
    the same parameters, for another thread.

    Args:
        name: shown in logs and errors.
        system: runs the net and owns its parameters.
        layers: in any order. The same layer object in several nets of a system shares its parameters.
        keep: blobs that can be read after any run but `predict`. They cost memory and prevent fusions.

    Attributes:
        feeds: the position of the runs in each data layer's source.
        runs: the interface that solvers, snapshots and tests use to run the net.

    Raises:
        MochaError: the layers do not form a net, or their shapes do not fit; says which and why.
    """

    _way_out = (
        "What a net is made of is given when it is built: mocha.Net(name, system, layers, keep=[...]). net.freeze and "
        "net.unfreeze say what learns."
    )
    _reports = frozenset({"name", "layers", "system", "feeds", "runs"})

    def __init__(self, name: str, system: System, layers: Iterable[Layer], *, keep: Sequence[str] = ()) -> None:
        checks.instance("Net", "name", name, str, "'train'")
        label = f"Net '{name}'"
        checks.instance(label, "system", system, System, "mocha.System('cpu')").check_open()
        self.name = name
        self.system = system
        self.layers = tuple(sort(name, layers))
        self.feeds = Feeds()
        with system.building():
            self._build(label, checks.names(label, "keep", keep))
        system.nets.add(self)
        plugin_manager().hook.mocha_net_built(net=self)

    def _build(self, label: str, keep: tuple[str, ...]) -> None:
        storage, seed = self.system.storage, self.system.seed
        recorder = Recorder(self.name, self.system, self.layers, self.feeds)
        try:
            for layer in self.layers:
                if isinstance(layer, DataLayer):
                    source = layer.open(seed)
                    self.feeds[layer.name] = Feed(layer, source, self.system.dtype, seed, storage.gate.lending)
            self.feeds.join()
            with self.system.compiling():
                self.runs = Runs(self.name, self.system, recorder, self.feeds, keep)
                for kept in keep:
                    checks.known(label, "blob", kept, self.plan.blobs)
                storage.allocate((state.value for state in recorder.new), label)
            for state in recorder.new:
                state.initialize()
        except BaseException:
            recorder.forget_new()
            self.feeds.close()
            raise
        recorder.new.clear()

    # Parts.

    @property
    def plan(self) -> Plan:
        """The forward steps of the training phase."""
        return self.runs.plan

    @property
    def blobs(self) -> NamedItems[Blob]:
        """The blobs by name, as the last run but predictions left them."""
        return NamedItems(self.runs.label, "blob", {name: Blob(self.runs, name) for name in self.plan.blobs})

    @property
    def parameters(self) -> States[States[Parameter]]:
        """Parameters by layer and name: `net.parameters["conv1"]["filter"]`, or `net.parameters.conv1.filter`."""
        groups = {}
        for layer, group in self.runs.recorder.owned.items():
            items = {name: state for name, state in group.items() if isinstance(state, Parameter)}
            if items:
                groups[layer] = States(f"Layer '{layer}'", "parameter", items)
        return States(self.runs.label, "layer with parameters", groups)

    @property
    def states(self) -> States[State]:
        """Parameters and states, each once, by the name they have in files: `conv1___filter`."""
        return States(self.runs.label, "parameter or state", self.runs.recorder.states())

    def gradient(self, layer: str, name: str) -> NDArray[Any]:
        """The gradient of a parameter that the last `backward` computed, without regularization."""
        parameter = self.parameters[layer][name]
        with self.runs.using():
            return self.runs.gradient(parameter)

    @property
    def epoch(self) -> int:
        """How often the first data layer's source has been consumed."""
        return self.feeds.first.epoch

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the layers whose parameters do not learn."""
        return self.runs.frozen

    def freeze(self, *layers: str) -> None:
        """Stop learning the parameters of these layers; gradients still flow through them."""
        self._check_layers(layers)
        with self.runs.using():
            self.runs.frozen |= set(layers)

    def unfreeze(self, *layers: str) -> None:
        """Learn the parameters of these layers again; of all layers when none is named."""
        self._check_layers(layers)
        with self.runs.using():
            self.runs.frozen = self.frozen - set(layers) if layers else frozenset()

    def _check_layers(self, names: Iterable[str]) -> None:
        for name in names:
            checks.known(self.runs.label, "layer", name, (layer.name for layer in self.layers))

    def summary(self) -> listing.Text:
        """A table of layers, output shapes and parameter counts, with bytes."""
        return listing.summary(self.runs)

    def program(self, output: str | None = None) -> Program:
        """The program that ran last, or else that of `forward` and `backward`; with `output`, one that predicts it."""
        if output is not None:
            checks.known(self.runs.label, "blob", output, self.plan.blobs)
            return self.runs.predictions.program(output)
        with self.runs.using():
            return self.runs.last_or_first()

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"{self.runs.label} cannot be copied or pickled. Build another Net of net.layers, on a System; what it "
            "learned is copied by net.states.copy(), and loaded by states.load(arrays)."
        )

    def __str__(self) -> str:
        return str(listing.architecture(self.runs))

    def __repr__(self) -> str:
        counts = f"{len(self.layers)} layers, {listing.parameter_count(self.runs):,} parameters"
        return f"<Net '{self.name}' on '{self.system.backend.name}': {counts}>"

    def _repr_html_(self) -> str:
        return listing.architecture(self.runs)._repr_html_()

    def __dir__(self) -> list[str]:
        """Without what only solvers and data layers use: completion in a notebook shows the names for people."""
        return [name for name in super().__dir__() if name not in ("feeds", "runs")]

    # Running.

    def forward(self, phase: Phase = Phase.TRAIN) -> float:
        """Run the next minibatch forward; all blobs can be read afterwards.

        Returns:
            The objective; NaN in a net without a loss, which has none.
        """
        checks.instance(self.runs.label, "phase", phase, Phase, "Phase.TEST")
        with self.runs.using():
            return self.runs.forward(phase)

    def backward(self) -> None:
        """Run the minibatch of the last `forward` backward, for the gradients of all parameters."""
        with self.runs.using():
            self.runs.backward()

    def forward_epoch(self) -> float:
        """Run the whole data set once, from its beginning, in the test phase.

        Statistics then cover exactly its rows; the cursors stay where they were.

        Returns:
            The mean objective; NaN in a net without a loss, which has none.
        """
        with self.runs.using():
            return self.runs.forward_epoch()

    def predict(self, data: Any, output: str, *, batch_size: int | None = None) -> NDArray[Any]:
        """The blob `output` for any number of rows, in the test phase. Any number of threads may call it at once.

        It leaves the net as it is: `net.blobs` shows what the run before it left. Programs are compiled for the data
        layer's batch size and for powers of two; fewer rows are filled up, or images divided into several of these
        sizes. All rows are computed with the parameters of one moment, while a net of the same layers trains in
        another thread, too.

        Args:
            data: an array with one row per sample, or a dict of arrays by blob name where `output` depends
                on several tops of data layers. They are the contents of blobs: a data layer's transformers are not
                applied to them.
            output: a blob name.
            batch_size: rows computed at once, at most; by default, the data layer's batch size.

        Raises:
            UnknownNameError: there is no such blob.
            ShapeError: the rows do not have the shape the net was built for.
        """
        if not isinstance(output, str) or output not in self.runs.plan.blobs:
            checks.known(self.runs.label, "blob", output, self.plan.blobs)
        if batch_size is not None:
            batch_size = checks.integer(self.runs.label, "batch_size", batch_size, at_most=checks.MOST)
        return self.runs.predictions.predict(data, output, batch_size)

    def profile(self, n: int = 10, solver: Trainer | None = None) -> Profile:
        """Measure the time of each step in `n` real iterations over the next minibatches, then undo their effects.

        Args:
            n: number of timed iterations; one more, untimed, comes before them.
            solver: time its training; None: time `forward` and `backward`.
        """
        runs = self.runs
        checks.integer(runs.label, "n", n)
        with runs.using():
            if solver is not None and not isinstance(solver, Trainer):
                raise ConfigurationError(
                    f"{runs.label}: expected solver to be a solver such as solvers.SGD(parameters), received "
                    f"{checks.shown(solver)}."
                )
            if solver is None:
                return profile(runs, runs.program(runs.stepwise()), n, None, ())
            program = runs.training_program(solver)
            return profile(runs, program, n, solver, solver.memories(self).values())

    # Statistics.

    def statistics(self) -> dict[str, float]:
        """Means since the last reset by name, such as "test-accuracy-accuracy": 0.9605 (a fraction)."""
        return {f"{s.layer}-{s.key}": mean for s, mean, _ in self._means()}

    def reset_statistics(self) -> None:
        """Start all means again from zero rows."""
        with self.runs.using():
            self.runs.reset_statistics()

    def show_statistics(self) -> list[str]:
        """The means, one per line, as Mocha prints them: `Accuracy (avg over 10000) = 96.0500%`."""
        lines = []
        for statistic, mean, count in self._means():
            shown = f"{mean:.4%}" if statistic.percent else f"{mean:.4f}"
            lines.append(f"{statistic.label} (avg over {count:.0f}) = {shown}")
        return lines

    def _means(self) -> Iterable[tuple[Statistic, float, float]]:
        with self.runs.using():
            for statistic in self.plan.statistics:
                total, count = self.system.read(statistic.total)
                yield statistic, float(total / count) if count else float("nan"), float(count)

    def destroy(self) -> None:
        """Release programs, blobs and open data files. Parameters stay with their layers."""
        with self.runs.using():
            self.runs.destroy()
