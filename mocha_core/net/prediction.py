"""The work of `net.predict`: check the rows, cut them into minibatches, run these in programs of a few sizes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mocha_core import checks
from mocha_core.compile.budget import allocating
from mocha_core.compile.program import KEPT_BYTES, Bound, Program, outlives_runs
from mocha_core.errors import ShapeError
from mocha_core.graph.cells import Cell
from mocha_core.graph.commit import commit_updates
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.value import Spec, Value
from mocha_core.host import forks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.recorder import Recorder
    from mocha_core.net.system import System

#: Up to so many bytes are copied in less time than it takes to hand over the interpreter's lock.
SMALL = 2**18


class Running(Protocol):
    """The `Runs` of a net, as far as its predictions need them."""

    label: str
    system: System
    recorder: Recorder
    plan: Plan
    destroyed: bool

    def check_usable(self) -> None:
        """Raise `StateError` where nothing can run any more."""

    def raise_fault(self, program: Program) -> None:
        """Raise what a kernel reported."""


class Rows:
    """An array of rows, or a dict of them by blob name. `count` is the number of rows."""

    def __init__(self, owner: str, data: Any) -> None:
        self.owner = owner
        self.named = not isinstance(data, np.ndarray) and isinstance(data, Mapping)
        self.arrays: dict[str, NDArray[Any]] = {}
        self.count = 0
        for name, given in data.items() if self.named else (("", data),):
            self.arrays[name] = array = checks.numbers(owner, given)
            if array.ndim:
                self.count = self.count or len(array)

    def check(self, inputs: Mapping[str, Value]) -> None:
        """Match the arrays with a program's inputs.

        Raises:
            ShapeError: names, rows or their shapes do not fit; says what is expected.
        """
        if not self.named and len(inputs) == 1:
            self.arrays = {next(iter(inputs)): next(iter(self.arrays.values()))}
        if self.arrays.keys() != inputs.keys():
            given = checks.listed(map(str, self.arrays)) if self.named else "one array"
            raise ShapeError(f"{self.owner}: expected a dict of arrays for {checks.listed(inputs)}, received {given}.")
        for name, array in self.arrays.items():
            row = inputs[name].shape[1:]
            if array.ndim == 0 or array.shape[1:] != row or len(array) != self.count:
                count = "any" if len(self.arrays) == 1 else str(self.count)
                raise ShapeError(
                    f"{self.owner}, blob '{name}': expected an array of shape ({', '.join([count, *map(str, row)])}), "
                    f"received {array.shape}."
                )

    def batch(self, start: int, size: int) -> dict[str, NDArray[Any]]:
        """A minibatch by blob name; a view if it is complete, otherwise a copy in which the last row is repeated."""
        return {name: padded(array[start : start + size], size) for name, array in self.arrays.items()}


def padded(rows: NDArray[Any], size: int) -> NDArray[Any]:
    """The rows, and the last one repeated until they are `size` rows."""
    more = size - len(rows)
    if not more:
        return rows
    if rows.nbytes > SMALL:
        return np.concatenate([rows, np.broadcast_to(rows[-1], (more, *rows.shape[1:]))])
    # NumPy would release the interpreter's lock, and many threads that predict would wait for each other.
    return np.frombuffer(rows.tobytes() + rows[-1].tobytes() * more, rows.dtype).reshape(size, *rows.shape[1:])


class Size(NamedTuple):
    """The key of a program of `predict`."""

    output: str
    batch: int


class Predictor:
    """A program of `predict`, with its own cell for the number of rows that count."""

    def __init__(self, program: Program, size: Size) -> None:
        self.program = program
        self.size = size
        self.inputs = program.plan.inputs
        self.value = program.plan.blobs[size.output]
        self.has_rows = self.value.shape[:1] == (size.batch,)
        #: See `Program.bind`; None: not for this program.
        self.bound: Bound | None = None
        if self.has_rows and len(self.inputs) == 1 and not program.plan.carried:
            (given,) = self.inputs.values()
            self.bound = program.bind(given, self.value)
        self._counting = 0
        self._shown = False

    def show(self) -> Program:
        """The program, for a caller that may change its cells."""
        self._shown, self._counting = True, 0
        return self.program

    def run(self, rows: Rows, start: int, count: int, runs: Running) -> NDArray[Any]:
        """The output of a minibatch, of which `count` rows count."""
        program = self.program
        for name, part in rows.batch(start, self.size.batch).items():
            program.write(self.inputs[name], part)
        # In a prediction of one row, setting the cell is one of the slower parts.
        counted, self._counting = self._counting, 0
        program.start_anew()
        program.iterate(1, {} if counted == count else {Cell.VALID_ROWS: np.asarray([count])})
        self._counting = 0 if self._shown else count
        runs.raise_fault(program)
        return program.read(self.value, self.size.output)

    def run_bound(self, bound: Bound, rows: NDArray[Any], runs: Running) -> NDArray[Any]:
        """As `run`, of rows that need no check and no conversion."""
        self._counting = 0
        result = bound(rows)
        if result is None:
            runs.raise_fault(self.program)
            return self.program.read(self.value, self.size.output)[: len(rows)]
        return result


class Ready(NamedTuple):
    """Where predictors that are bound to arrays of rows wait, and the dtype of the rows."""

    size: Size
    dtype: np.dtype[Any]
    idle: list[Predictor]


class Predictions:
    """Programs that compute one blob from rows given in Python, for many threads at once.

    Each program has its own buffers and cells; one thread at a time uses it.
    """

    #: Programs are kept as long as they take no more than `KEPT_BYTES`, or than so many of the largest: three for each
    #: thread that may compute at once, and at least these. The least recently used go first.
    KEPT = 8
    #: For so many shapes of rows, predictors are found at once.
    MOST_READY = 1024

    def __init__(self, runs: Running) -> None:
        self._runs = runs
        self._idle: OrderedDict[Size, list[Predictor]] = OrderedDict()
        self._largest_ones = max(self.KEPT, 3 * runs.system.backend.programs_at_once)
        self._bound = KEPT_BYTES
        self._changing: dict[str, bool] = {}
        self._ready: dict[tuple[str, tuple[int, ...], int | None], Ready] = {}
        """By output, shape of the rows, and `batch_size`; for rows of one minibatch."""
        self.renew_locks()
        forks.renew_in_child(self)

    def renew_locks(self) -> None:
        self._lock = threading.Lock()
        # Without those that threads use which do not exist in a forked child.
        self._kept = sum(predictor.program.taken for idle in self._idle.values() for predictor in idle)

    def predict(self, data: Any, output: str, limit: int | None) -> NDArray[Any]:
        """See `Net.predict`."""
        if type(data) is np.ndarray and (ready := self._ready.get((output, data.shape, limit))):
            result = self._at_once(ready, data)
            if result is not None:
                return result
        runs, rows = self._runs, Rows(self._runs.label, data)
        gate, largest = runs.system.storage.gate, self._largest(limit)
        with gate.exclusive() if self._changes(output) else gate.shared():
            runs.check_usable()
            if rows.count <= largest:
                result = self._minibatch(rows, 0, rows.count, output)[: rows.count]
                if type(data) is np.ndarray and rows.count and not self._changes(output):
                    self._prepare(data, output, limit)
                return result
            first = self._minibatch(rows, 0, largest, output)
            spec = Spec((rows.count, *first.shape[1:]), str(first.dtype))
            with allocating(f"{runs.label}, predictions", [(output, spec)], "Predict fewer rows at once."):
                result = np.empty(*spec)
            result[:largest] = first
            for start in range(largest, rows.count, largest):
                count = min(largest, rows.count - start)
                result[start : start + count] = self._minibatch(rows, start, count, output)[:count]
        return result

    def program(self, output: str) -> Program:
        """The program for this output that ran last, or else one for the data layers' minibatches."""
        with self._lock:
            used = [size for size, programs in self._idle.items() if size.output == output and programs]
        self._runs.check_usable()
        size = used[-1] if used else Size(output, self._runs.plan.batch)
        taken = self._take(size)
        program = taken.show()
        self._give_back(size, taken)
        return program

    def programs(self) -> list[tuple[str, Program]]:
        """The programs that no thread uses, and what each is for."""
        with self._lock:
            return [(f"predict '{s.output}'", p.program) for s, idle in self._idle.items() for p in idle]

    def clear(self) -> None:
        """Drop all programs."""
        with self._lock:
            self._idle.clear()
            self._ready.clear()
            self._kept = 0

    def _prepare(self, data: NDArray[Any], output: str, limit: int | None) -> None:
        """From now on, `_at_once` serves such rows."""
        size = Size(output, self._rounded(len(data)))
        with self._lock:
            idle = self._idle.get(size)
            if idle and idle[-1].bound and not self._runs.destroyed:
                if len(self._ready) >= self.MOST_READY:
                    self._ready.clear()
                (given,) = idle[-1].inputs.values()
                self._ready[output, data.shape, limit] = Ready(size, np.dtype(given.dtype), idle)

    def _at_once(self, ready: Ready, data: NDArray[Any]) -> NDArray[Any] | None:
        """The output of a minibatch by an idle predictor; None if there is none, or these rows are not for it.

        It does little in Python, and does not hand over the interpreter's lock: both take longer than small nets.
        """
        if data.dtype is not ready.dtype or not data.flags.c_contiguous:
            return None
        runs, taken = self._runs, None
        with runs.system.storage.gate.shared():
            runs.check_usable()
            try:
                with self._lock:
                    if not ready.idle:
                        return None
                    # Until it is back, its bytes stay in `_kept`.
                    taken = ready.idle.pop()
                    self._idle.move_to_end(ready.size)
                return None if taken.bound is None else taken.run_bound(taken.bound, data, runs)
            finally:
                if taken is not None:
                    ready.idle.append(taken)

    def _largest(self, limit: int | None) -> int:
        """The most rows computed at once: the data layers' batch size, or a power of two for a size that users give."""
        usual = self._runs.plan.batch
        if limit is None:
            return usual
        power = 1 << (limit.bit_length() - 1)
        return max(power, usual) if usual <= limit else power

    def _rounded(self, rows: int) -> int:
        """The smallest size of a program with room for `rows` rows."""
        power, usual = 1 << max(rows - 1, 0).bit_length(), self._runs.plan.batch
        return usual if rows <= usual < power else power

    def _minibatch(self, rows: Rows, start: int, count: int, output: str) -> NDArray[Any]:
        """The output of `count` rows from `start` on, followed by that of the rows that fill up the minibatch."""
        size = Size(output, self._rounded(count))
        taken = self._take(size)
        try:
            rows.check(taken.inputs)
            if not taken.has_rows:
                raise ShapeError(
                    f"{self._runs.label}: expected a blob with a row for each sample, but '{output}' has shape "
                    f"{taken.value.shape}. Read it from net.blobs after net.forward()."
                )
            return (
                taken.run(rows, start, count, self._runs) if count else np.empty(taken.value.shape, taken.value.dtype)
            )
        finally:
            self._give_back(size, taken)

    def _take(self, size: Size) -> Predictor:
        """A program that no other thread uses until it is given back."""
        with self._lock:
            if programs := self._idle.get(size):
                taken = programs.pop()
                self._kept -= taken.program.taken
                return taken
        with self._runs.system.compiling():
            program = self._runs.system.backend.compile(self._record(size), self._runs.system.storage)
        return Predictor(program, size)

    def _give_back(self, size: Size, taken: Predictor) -> None:
        """Keep a program for the next request, and drop the least recently used ones that are too many."""
        with self._lock:
            if self._runs.destroyed:
                return
            if size not in self._idle:
                self._idle[size] = []
            self._idle[size].append(taken)
            self._idle.move_to_end(size)
            self._kept += taken.program.taken
            if self._kept > self._bound:
                self._drop(taken.program)

    def _drop(self, used: Program) -> None:
        self._bound = max(self._bound, self._largest_ones * used.taken)
        for programs in self._idle.values():
            while programs and self._kept > self._bound:
                self._kept -= programs.pop(0).program.taken

    def _record(self, size: Size) -> Plan:
        runs = self._runs
        plan = runs.recorder.record(Phase.TEST, batch=size.batch, keep=(size.output,), inputs=True)
        plan.prune([plan.blobs[size.output]])
        plan.objective = None
        commit_updates(plan, partial(runs.recorder.cell, Cell.STATUS))
        return plan

    def _changes(self, output: str) -> bool:
        """Whether this prediction changes parameters or states; then nothing else may compute meanwhile."""
        changes = self._changing.get(output)
        if changes is None:
            self._runs.check_usable()
            with self._runs.system.compiling():
                steps = self._record(Size(output, self._runs.plan.batch)).steps
            changes = any(outlives_runs(value) for step in steps for value in step.writes)
            self._changing[output] = changes
        return changes
