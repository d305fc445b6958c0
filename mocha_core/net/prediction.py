"""The work of `net.predict`: check the rows, cut them into minibatches, run these in programs of a few sizes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from mocha_core import checks
from mocha_core.compile.budget import allocating
from mocha_core.compile.program import KEPT_BYTES, Bound, Program, outlives_runs
from mocha_core.errors import ShapeError
from mocha_core.graph.cells import Cell
from mocha_core.graph.commit import commit_updates
from mocha_core.graph.plan import Phase, Plan
from mocha_core.graph.value import Spec, Value
from mocha_core.host import cpus, forks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.recorder import Recorder
    from mocha_core.net.system import System

#: The key of a program of `predict`: its output, and how many rows it computes. To make a named tuple takes too long.
Size: TypeAlias = "tuple[str, int]"


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
    if rows.nbytes > cpus.SMALL_COPY:
        return np.concatenate([rows, np.broadcast_to(rows[-1], (more, *rows.shape[1:]))])
    # NumPy would release the interpreter's lock, and many threads that predict would wait for each other.
    return np.frombuffer(rows.tobytes() + rows[-1].tobytes() * more, rows.dtype).reshape(size, *rows.shape[1:])


class Predictor:
    """A program of `predict`, with its own cell for the number of rows that count."""

    def __init__(self, program: Program, size: Size) -> None:
        self.program = program
        self.output, self.batch = size
        self.inputs = program.plan.inputs
        self.value = program.plan.blobs[self.output]
        self.has_rows = self.value.shape[:1] == (self.batch,)
        #: See `Program.bind`; None: not for this program.
        self.bound: Bound | None = None
        if self.has_rows and len(self.inputs) == 1 and not program.plan.carried and not program.changes:
            (given,) = self.inputs.values()
            self.bound = program.bind(given, self.value)
            self._row, self._dtype = given.shape[1:], np.dtype(given.dtype)
        self._counting = 0
        self._shown = False

    def show(self) -> Program:
        """The program, for a caller that may change its cells."""
        self._shown, self._counting = True, 0
        return self.program

    def run(self, rows: Rows, start: int, count: int, runs: Running) -> NDArray[Any]:
        """The output of a minibatch, of which `count` rows count."""
        program = self.program
        for name, part in rows.batch(start, self.batch).items():
            program.write(self.inputs[name], part)
        # In a prediction of one row, setting the cell is one of the slower parts.
        counted, self._counting = self._counting, 0
        program.start_anew()
        program.iterate(1, {} if counted == count else {Cell.VALID_ROWS: np.asarray([count])})
        self._counting = 0 if self._shown else count
        runs.raise_fault(program)
        return program.read(self.value, self.output)

    def run_bound(self, rows: NDArray[Any], runs: Running) -> NDArray[Any] | None:
        """As `run`, of rows that need no other check and no conversion; None: these do."""
        bound = self.bound
        if bound is None or rows.shape[1:] != self._row or rows.dtype is not self._dtype or not rows.flags.c_contiguous:
            return None
        self._counting = 0
        result = bound(rows)
        if result is None:
            runs.raise_fault(self.program)
            return self.program.read(self.value, self.output)[: len(rows)]
        return result


class Predictions:
    """Programs that compute one blob from rows given in Python, for many threads at once.

    Each program has its own buffers and cells; one thread at a time uses it.
    """

    #: Programs are kept as long as they take no more than `KEPT_BYTES`, or than so many of the largest: three for each
    #: thread that may compute at once, and at least these. The least recently used go first.
    KEPT = 8

    def __init__(self, runs: Running) -> None:
        self._runs = runs
        self._gate = runs.system.storage.gate
        self._usual = runs.plan.batch
        self._binds = False
        """Whether any program was bound to arrays of rows."""
        self._idle: OrderedDict[Size, list[Predictor]] = OrderedDict()
        self._largest_ones = max(self.KEPT, 3 * runs.system.backend.programs_at_once)
        self._bound = KEPT_BYTES
        self._changing: dict[str, bool] = {}
        self._at_once_of: dict[str, int] = {}
        """By blob, the backend's `images_at_once` where there are images and nothing changes; 0 elsewhere."""
        self.renew_locks()
        forks.renew_in_child(self)

    def renew_locks(self) -> None:
        self._lock = threading.Lock()
        # Without those that threads use which do not exist in a forked child.
        self._kept = sum(predictor.program.taken for idle in self._idle.values() for predictor in idle)

    def predict(self, data: Any, output: str, limit: int | None) -> NDArray[Any]:
        """See `Net.predict`."""
        if self._binds and type(data) is np.ndarray and (result := self._at_once(data, output, limit)) is not None:
            return result
        runs, rows = self._runs, Rows(self._runs.label, data)
        with self._gate.exclusive() if self._changes(output) else self._gate.shared():
            runs.check_usable()
            result, start = np.empty(0), 0
            for count in self._divided(rows.count, self._largest(limit), output):
                part = self._minibatch(rows, start, count, output)[:count]
                if count == rows.count:
                    return part
                if not start:
                    spec = Spec((rows.count, *part.shape[1:]), str(part.dtype))
                    with allocating(f"{runs.label}, predictions", [(output, spec)], "Predict fewer rows at once."):
                        result = np.empty(*spec)
                result[start : start + count] = part
                start += count
        return result

    def program(self, output: str) -> Program:
        """The program for this output that ran last, or else one for the data layers' minibatches."""
        with self._lock:
            used = [size for size, programs in self._idle.items() if size[0] == output and programs]
        self._runs.check_usable()
        size = used[-1] if used else (output, self._usual)
        taken = self._take(size)
        program = taken.show()
        self._give_back(size, taken)
        return program

    def programs(self) -> list[tuple[str, Program]]:
        """The programs that no thread uses, and what each is for."""
        with self._lock:
            return [(f"predict '{name}'", p.program) for (name, _), idle in self._idle.items() for p in idle]

    def clear(self) -> None:
        """Drop all programs."""
        with self._lock:
            self._idle.clear()
            self._kept = 0

    def _at_once(self, data: NDArray[Any], output: str, limit: int | None) -> NDArray[Any] | None:
        """The output of a minibatch by an idle predictor; None if there is none, or these rows are not for it.

        It does little in Python, and does not hand over the interpreter's lock: both take longer than small nets.
        """
        count, largest = len(data) if data.ndim else 0, self._largest(limit)
        if not 0 < count <= largest:
            return None
        with self._gate.shared():
            self._runs.check_usable()
            parts, start = [], 0
            for size in self._divided(count, largest, output):
                part = self._by_idle(data[start : start + size], output)
                if part is None:
                    return None
                parts.append(part)
                start += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _by_idle(self, data: NDArray[Any], output: str) -> NDArray[Any] | None:
        """See `_at_once`, for rows that one program computes."""
        size = output, self._rounded(len(data))
        with self._lock:
            idle = self._idle.get(size)
            if not idle:
                return None
            # Until it is back, its bytes stay in `_kept`.
            taken = idle.pop()
            self._idle.move_to_end(size)
        try:
            return taken.run_bound(data, self._runs)
        finally:
            idle.append(taken)

    def _largest(self, limit: int | None) -> int:
        """The most rows computed at once: the data layers' batch size, or a power of two for a size that users give."""
        if limit is None:
            return self._usual
        power = 1 << (limit.bit_length() - 1)
        return max(power, self._usual) if self._usual <= limit else power

    def _rounded(self, rows: int) -> int:
        """The smallest size of a program with room for `rows` rows."""
        power = 1 << (rows - 1).bit_length() if rows else 1
        return self._usual if rows <= self._usual < power else power

    def _divided(self, count: int, largest: int, output: str) -> list[int]:
        """The numbers of rows of the minibatches that compute `count` rows, at most `largest` at once."""
        most = self._at_once_of.get(output, 0)
        largest = min(largest, most or largest)
        sizes, left = [largest] * (count // largest), count % largest
        # To fill up a minibatch by much takes longer than to compute its rows in several.
        while most and left and 8 * left < 7 * self._rounded(left):
            sizes.append(1 << (left.bit_length() - 1))
            left -= sizes[-1]
        return [*sizes, left] if left or not sizes else sizes

    def _minibatch(self, rows: Rows, start: int, count: int, output: str) -> NDArray[Any]:
        """The output of `count` rows from `start` on, perhaps followed by that of rows that fill up the minibatch."""
        size = output, self._rounded(count)
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
        made = Predictor(program, size)
        self._binds = self._binds or made.bound is not None
        return made

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
        output, batch = size
        plan = runs.recorder.record(Phase.TEST, batch=batch, keep=(output,), inputs=True)
        plan.prune([plan.blobs[output]])
        plan.objective = None
        commit_updates(plan, partial(runs.recorder.cell, Cell.STATUS))
        return plan

    def _changes(self, output: str) -> bool:
        """Whether this prediction changes parameters or states; then nothing else may compute meanwhile."""
        changes = self._changing.get(output)
        if changes is None:
            self._runs.check_usable()
            with self._runs.system.compiling():
                steps = self._record((output, self._usual)).steps
            written = [value for step in steps for value in step.writes]
            changes = any(outlives_runs(value) for value in written)
            # Inner products read their weights once for each minibatch, convolutions for each image.
            images = any(len(value.shape) > 2 for value in written)
            self._at_once_of[output] = self._runs.system.backend.images_at_once if images and not changes else 0
            self._changing[output] = changes
        return changes
