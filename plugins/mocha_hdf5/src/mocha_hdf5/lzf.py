"""Unpacks lzf with the function of h5py's filter, which writes no more bytes than it is given room for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_hdf5 import scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The address and the number of packed bytes, the address of room and its bytes. Gives the number of unpacked bytes, 0
#: if the packed bytes are damaged or need more room.
Function = Callable[[int, int, int, int], int]


class LZF:
    """Unpacks chunks. Where the function is not exported, as on Windows, the filter itself is applied in `scratch`."""

    def __init__(self) -> None:
        self._filter: scratch.LZF | None = None

    def unpack(self, raw: NDArray[np.uint8], places: Sequence[tuple[int, int]], out: NDArray[np.uint8]) -> bool:
        """Fill each row of `out` from one chunk.

        Args:
            raw: bytes with the packed chunks.
            places: where each of them starts in `raw`, and its size.
            out: rows of bytes, C-ordered.

        Returns:
            Whether each chunk fills its row exactly.
        """
        room = out.shape[1]
        if _function is not None:
            packed, unpacked = raw.ctypes.data, out.ctypes.data
            return all(
                _function(packed + start, size, unpacked + n * room, room) == room
                for n, (start, size) in enumerate(places)
            )
        self._filter = self._filter or scratch.LZF()
        chunks = [raw[start : start + size].data for start, size in places]
        for first in range(0, len(chunks), scratch.LZF.AT_ONCE):
            end = first + scratch.LZF.AT_ONCE
            try:
                found = self._filter.unpack(chunks[first:end], room)
            except scratch.Refused:
                return False
            if found is None:
                return False
            out[first:end] = found
        return True


def _exported() -> Function | None:
    """The function that h5py's filter calls, if it is exported and does what it is expected to do."""
    try:
        function = ctypes.CDLL(h5py.h5z.__file__).lzf_decompress
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
    function.restype = ctypes.c_uint
    packed, room = np.frombuffer(b"\0a\xe0\x5a\0", np.uint8), np.zeros(102, np.uint8)  # a hundred times "a"
    found = [function(packed.ctypes.data, size, room.ctypes.data, most) for size, most in ((5, 99), (4, 100), (5, 100))]
    return function if found == [0, 0, 100] and room.tobytes() == b"a" * 100 + bytes(2) else None


_function = _exported()
