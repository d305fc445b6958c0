"""Uploads that overlap with computation, through pinned memory and in their own stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from mocha_core.api import Array
from mocha_cuda.compiled import THREADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_cuda.device import Device

#: The maximum number of uploads in flight. The next one waits for the first of them.
SLOTS = 4
#: The maximum number of bytes of a slot. Larger arrays, such as data sets on the device, are uploaded in pieces.
MOST = 64 << 20
#: Uploads of up to this many bytes are too short to overlap with computation.
LITTLE = 16 << 10

runtime = cupy.cuda.runtime


class Staging:
    """Copies host arrays to the device. `upload` returns before the copy is complete; its source may change at once.

    Later work in the stream sees the new contents. A large array first arrives in other device memory, while the stream
    still computes with the old contents, and is copied from there.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._stream = device.stream
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._slots = [_Slot() for _ in range(SLOTS)]
        self._next = 0

    def upload(self, array: Array, source: NDArray[Any], status: Array | None) -> None:
        """Overwrite an array, casting the dtype. With a status cell, a fault in it prevents the write."""
        size = array.nbytes
        if size == 0:
            return
        if size > MOST:
            source = np.broadcast_to(source, array.shape)
            rows = MOST * len(array) // size  # 0 if one row is too large
            for row in range(0, len(array), max(1, rows)):
                piece = slice(row, row + rows) if rows else row
                self.upload(array[piece], source[piece], status)
            return
        slot = self._slots[self._next]
        self._next = (self._next + 1) % SLOTS
        little = size <= LITTLE and status is None
        slot.reserve(size, not little, self._stream, self._copies)
        np.copyto(slot.host(array.shape, array.dtype), source, casting="unsafe")
        if little:
            _copy(array.data.ptr, slot.pinned.ptr, size, runtime.memcpyHostToDevice, self._stream)
        else:
            _copy(slot.beside.data.ptr, slot.pinned.ptr, size, runtime.memcpyHostToDevice, self._copies)
            slot.event.record(self._copies)
            self._stream.wait_event(slot.event)
            self._arrived(slot.beside, array, status)
        slot.event.record(self._stream)

    def _arrived(self, beside: Array, array: Array, status: Array | None) -> None:
        """Copy uploaded contents to the array."""
        size = array.nbytes
        if status is None:
            _copy(array.data.ptr, beside.data.ptr, size, runtime.memcpyDeviceToDevice, self._stream)
            return
        kernel = self._device.kernel("program", "copy_unless_failed", "float32")
        ints = size // 4
        words = (status, beside[:size].view("int32"), array.reshape(-1).view("int32"), np.int32(ints))
        self._device.launch(kernel, (-(-ints // THREADS),), THREADS, words)


class _Slot:
    """Pinned host memory, as much device memory, and an event after which both are free again."""

    def __init__(self) -> None:
        self.event = cupy.cuda.Event(disable_timing=True)
        self.size = 0
        self.pinned: Any = None
        self.beside: Array = cupy.empty(0, "uint8")

    def reserve(self, size: int, beside: bool, stream: Any, copies: Any) -> None:
        """Wait until the slot is free, and make it large enough. `copies` writes `beside`; `stream` is the current."""
        self.event.synchronize()
        if size > self.size:
            self.pinned = cupy.cuda.alloc_pinned_memory(size)
            self.size = size
        if beside and size > self.beside.nbytes:
            self.beside = cupy.empty(size, "uint8")
            # The pool may return memory that queued work in `stream` still uses: make `copies` wait for it.
            self.event.record(stream)
            copies.wait_event(self.event)

    def host(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """The pinned memory as an array."""
        return np.ndarray(shape, dtype, buffer=self.pinned)


def _copy(target: int, source: int, size: int, kind: int, stream: Any) -> None:
    runtime.memcpyAsync(target, source, size, kind, stream.ptr)
