"""`RowsRun`: one iteration of a program from an array of rows to an array of rows."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import PLAIN, BoundStep, Call, Cell, Convert, Value, cpus, forward_step, nbytes
from mocha_native._native import ffi, lib
from mocha_native.compiled import address
from mocha_native.layout import CompiledLayout, Conversion

if TYPE_CHECKING:
    from mocha_native.program import NativeProgram, Tape

#: A run of fewer seconds keeps the interpreter's lock, because handing it over takes longer.
SHORT = 1e-4

advance_with_lock = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
    int(ffi.cast("intptr_t", ffi.addressof(lib, "mocha_advance")))
)


class RowsRun:
    """See `Program.bind`. Everything but the rows is bound: a call copies them, runs, and copies the result."""

    def __init__(self, program: NativeProgram, tape: Tape, given: NDArray[Any], result: NDArray[Any]) -> None:
        self._pack = program.pack
        self._kept_alive = tape, given, result
        self._run = run = tape.run()
        self._pointer = ctypes.c_void_p(int(ffi.cast("intptr_t", run)))
        self._given, self._result = address(given), address(result)
        self._batch, self._row, self._result_row = len(given), given[0].nbytes, result[0].nbytes
        self._shape, self._dtype = result.shape[1:], result.dtype
        valid = program.cells.get(Cell.VALID_ROWS)
        self._valid = address(np.zeros(1, np.int32) if valid is None else valid, "int32_t[]")

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        count, run = len(rows), self._run
        ffi.memmove(self._given, rows, count * self._row)
        if missing := self._batch - count:
            ffi.memmove(self._given + count * self._row, rows[-1].tobytes() * missing, missing * self._row)
        self._valid[0] = count
        self._pack()
        run.part = run.step = run.minibatch = run.done = 0
        if run.taken < SHORT:
            reason = advance_with_lock(self._pointer)
        else:
            reason = lib.mocha_advance(run)
        if reason:
            return None
        result = np.empty((count, *self._shape), self._dtype)
        ffi.memmove(result, self._result, count * self._result_row)
        return result


def plain_result(program: NativeProgram, value: Value) -> tuple[NDArray[Any], list[BoundStep]]:
    """A plain array of a value's contents, and the step, if it takes one, that writes it."""
    root, home = value.root, program.arrangement.home(value)
    array = program.memory.buffers[root]
    if home is PLAIN:
        return array.reshape(value.shape), []
    plain = program.backend.empty(root.shape, root.dtype)
    step = forward_step(Call(Convert(home, PLAIN, False), (root,), (root,), "(result)"))
    kernel = Conversion(program.backend, step.call)
    return plain.reshape(value.shape), [BoundStep(step, kernel, kernel.forward([array], [plain], [False]))]


def can_bind(program: NativeProgram, given: Value, result: Value) -> bool:
    """Whether the input is plain, and the result can be read in one of this backend's layouts.

    Of large ones neither: other ways release the interpreter's lock while they copy.
    """
    home, memory = program.arrangement.home, program.memory
    small = all(v.root in memory.buffers and nbytes(v.spec) <= cpus.SMALL_COPY for v in (given, result))
    readable = home(result) is PLAIN or isinstance(home(result), CompiledLayout)
    return small and readable and home(given) is PLAIN and result.root not in memory.overwritten
