"""Uploads that overlap with what the device computes: through pinned memory, in a stream of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from mocha_core.api import Array
from mocha_cuda.compiled import THREADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_cuda.device import Device

#: As many uploads are under way at most; then the host waits for the first of them.
SLOTS = 4
#: Bytes of a slot at most: what is larger, such as a data set that stays on the device, is uploaded in pieces.
MOST = 64 << 20
#: Bytes up to which an upload is over before it could overlap with anything.
LITTLE = 16 << 10

runtime = cupy.cuda.runtime


class Staging:
    """Copies host arrays to the device. `upload` returns before they are there, and what it read may change at once.

    What is put into the stream afterwards finds them. Large ones arrive in device memory beside the array, while the
    stream still computes with the array's old contents, and are copied from there.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._stream = device.stream
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._slots = [_Slot() for _ in range(SLOTS)]
        self._next = 0

    def upload(self, array: Array, source: NDArray[Any], status: Array | None) -> None:
        """Overwrite an array, casting the dtype; with a status cell, unless a fault stands there by then."""
        size = array.nbytes
        if size == 0:
            return
        if size > MOST:
            source = np.broadcast_to(source, array.shape)
            rows = MOST * len(array) // size  # 0: even one is too large
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
        """Copy what has arrived to where it belongs."""
        size = array.nbytes
        if status is None:
            _copy(array.data.ptr, beside.data.ptr, size, runtime.memcpyDeviceToDevice, self._stream)
            return
        kernel = self._device.kernel("program", "copy_unless_failed", "float32")
        ints = size // 4
        words = (status, beside[:size].view("int32"), array.reshape(-1).view("int32"), np.int32(ints))
        self._device.launch(kernel, (-(-ints // THREADS),), THREADS, words)


class _Slot:
    """Pinned host memory, as much beside it on the device, and an event after which both are free again."""

    def __init__(self) -> None:
        self.event = cupy.cuda.Event(disable_timing=True)
        self.size = 0
        self.pinned: Any = None
        self.beside: Array = cupy.empty(0, "uint8")

    def reserve(self, size: int, beside: bool, stream: Any, copies: Any) -> None:
        """Wait until the slot is free, and make it large enough. `copies` writes beside; `stream` is the current."""
        self.event.synchronize()
        if size > self.size:
            self.pinned = cupy.cuda.alloc_pinned_memory(size)
            self.size = size
        if beside and size > self.beside.nbytes:
            self.beside = cupy.empty(size, "uint8")
            # What this memory was freed by may still be computed with in that stream.
            self.event.record(stream)
            copies.wait_event(self.event)

    def host(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """The pinned memory as an array."""
        return np.ndarray(shape, dtype, buffer=self.pinned)


def _copy(target: int, source: int, size: int, kind: int, stream: Any) -> None:
    runtime.memcpyAsync(target, source, size, kind, stream.ptr)
