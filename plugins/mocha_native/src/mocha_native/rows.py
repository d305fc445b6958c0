"""`RowsRun`: one iteration of a program from an array of rows to an array of rows."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
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


def _with_lock(name: str, result: Any) -> Callable[[int], Any]:
    """A C function of one pointer, called with the interpreter's lock."""
    function = ffi.addressof(lib, name)
    return ctypes.PYFUNCTYPE(result, ctypes.c_void_p)(int(ffi.cast("intptr_t", function)))


advance_with_lock = _with_lock("mocha_advance", ctypes.c_int)
rows_function = _with_lock("mocha_rows_function", ctypes.py_object)


class RowsRun:
    """See `Program.bind`. Everything but the rows is bound: a call copies them, runs, and copies the result."""

    def __init__(self, program: NativeProgram, tape: Tape, given: NDArray[Any], result: NDArray[Any]) -> None:
        self._pack = program.pack
        self._shape, self._dtype = result.shape[1:], result.dtype
        valid = program.cells.get(Cell.VALID_ROWS)
        # Kept alive: C has only their addresses.
        self._bound = {
            "run": tape.run(),
            "input": address(given),
            "result": address(result),
            "valid": address(np.zeros(1, np.int32) if valid is None else valid, "int32_t[]"),
        }
        sizes = {"rows": len(given), "row_bytes": given[0].nbytes, "result_bytes": result[0].nbytes}
        self._rows = ffi.new("mocha_rows *", {**self._bound, **sizes, "with_lock": SHORT})
        self._tape = tape
        self._run = rows_function(int(ffi.cast("intptr_t", self._rows)))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        self._pack()
        result = np.empty((len(rows), *self._shape), self._dtype)
        return None if self._run(rows, result) else result


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
