"""Uploads that overlap with what the device computes: through pinned memory, in a stream of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from mocha_core.array_api import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: As many uploads are under way at most; then the host waits for the first of them.
SLOTS = 4
#: Bytes up to which an upload is over before it could overlap with anything.
LITTLE = 16 << 10

runtime = cupy.cuda.runtime


class Staging:
    """Copies host arrays to the device. `upload` returns before they are there, and what it read may change at once.

    What is put into the stream afterwards finds them. Large ones arrive in device memory beside the array, while the
    stream still computes with the array's old contents, and are copied from there.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._copies = cupy.cuda.Stream(non_blocking=True)
        self._slots = [_Slot() for _ in range(SLOTS)]
        self._next = 0

    def upload(self, array: Array, source: NDArray[Any]) -> None:
        """Overwrite an array, casting the dtype."""
        size = array.nbytes
        if size == 0:
            return
        slot = self._slots[self._next]
        self._next = (self._next + 1) % SLOTS
        slot.reserve(size)
        np.copyto(slot.host(array.shape, array.dtype), source, casting="unsafe")
        if size <= LITTLE:
            _copy(array.data.ptr, slot.pinned.ptr, size, runtime.memcpyHostToDevice, self._stream)
        else:
            _copy(slot.beside.data.ptr, slot.pinned.ptr, size, runtime.memcpyHostToDevice, self._copies)
            slot.event.record(self._copies)
            self._stream.wait_event(slot.event)
            _copy(array.data.ptr, slot.beside.data.ptr, size, runtime.memcpyDeviceToDevice, self._stream)
        slot.event.record(self._stream)


class _Slot:
    """Pinned host memory, as much beside it on the device, and an event after which both are free again."""

    def __init__(self) -> None:
        self.event = cupy.cuda.Event(disable_timing=True)
        self.size = 0
        self.pinned: Any = None
        self.beside: Any = None

    def reserve(self, size: int) -> None:
        """Wait until the slot is free, and make it large enough."""
        self.event.synchronize()
        if size > self.size:
            self.pinned = cupy.cuda.alloc_pinned_memory(size)
            self.beside = cupy.empty(size if size > LITTLE else 0, "uint8")
            self.size = size

    def host(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """The pinned memory as an array."""
        return np.ndarray(shape, dtype, buffer=self.pinned)


def _copy(target: int, source: int, size: int, kind: int, stream: Any) -> None:
    runtime.memcpyAsync(target, source, size, kind, stream.ptr)
