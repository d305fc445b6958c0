"""Undoes HDF5's filters, in memory that is bounded by the chunks' declared size and their size in the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mocha_hdf5 import scratch
from mocha_hdf5.scratch import TypedFilter

DEFLATE, SHUFFLE, FLETCHER32, SZIP, NBIT, SCALEOFFSET, LZF = 1, 2, 3, 4, 5, 6, 32000
KNOWN = {
    DEFLATE: "gzip",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    SZIP: "szip",
    NBIT: "nbit",
    SCALEOFFSET: "scaleoffset",
    LZF: "lzf",
}
COMPRESSORS = (DEFLATE, LZF)
#: The filters that depend on the type of the elements. They are the first ones of a dataset.
TYPED = (SZIP, NBIT, SCALEOFFSET)
CHECKSUM = 4  # the bytes that fletcher32 appends
MOST_HEADER = 64  # the maximum of bytes that scaleoffset and szip put in front


class DamagedChunk(Exception):
    """A chunk is no possible output of its filters. The message says what was found."""


class Stored(NamedTuple):
    """A chunk as stored in the file. A set bit of `mask` says that this filter was not applied."""

    raw: memoryview
    mask: int


class Decoder:
    """Undoes the filters of a dataset.

    zlib unpacks gzip, because it takes a limit. The HDF5 library unpacks the other formats.

    Args:
        filters: the filters' numbers, in the order in which they were applied; at most one compressor.
        size: the size of a chunk before all filters, in bytes.
        itemsize: the size of an element, in bytes.
        typed: undoes the first filter, if it is one of `TYPED`.
    """

    def __init__(self, filters: Sequence[int], size: int, itemsize: int, typed: TypedFilter | None) -> None:
        self._filters = filters
        self._size = size
        self._itemsize = itemsize
        self._typed = typed
        self._plan = self._steps(0)
        self._lzf: scratch.LZF | None = None

    def decode(self, stored: Stored) -> memoryview:
        """The `size` bytes of a chunk.

        Raises:
            DamagedChunk: the chunk is damaged, or larger than it may be.
        """
        raw, mask = stored
        for n, expected in self._plan if mask == 0 else self._steps(mask):
            raw = self._undo(n, raw, expected)
        if len(raw) != self._size:
            raise DamagedChunk(f"{len(raw)} bytes")
        return raw

    def release(self) -> None:
        """Release memory until the next chunk."""
        self._lzf = None
        if self._typed is not None:
            self._typed.release()

    def _steps(self, mask: int) -> list[tuple[int, int]]:
        """The filters that were applied, the last one first, each with the size of its input in bytes."""
        steps, size = [], self._size
        for n, code in enumerate(self._filters):
            if not mask >> n & 1:
                steps.append((n, size))
                # The size of a compressor's output is unknown. It is not needed, because there is no second compressor.
                size += {FLETCHER32: CHECKSUM, SCALEOFFSET: MOST_HEADER, SZIP: MOST_HEADER}.get(code, 0)
        return steps[::-1]

    def _undo(self, n: int, raw: memoryview, expected: int) -> memoryview:
        code = self._filters[n]
        if code == DEFLATE:
            return _inflate(raw, expected)
        if code == FLETCHER32:
            return _checked(raw)
        if code == SHUFFLE:
            return _unshuffled(raw, self._itemsize)
        if code == LZF:
            self._lzf = self._lzf or scratch.LZF()
            return _unpacked(self._lzf, raw, expected)
        assert self._typed is not None
        _check_typed(code, raw, self._size, self._itemsize)
        try:
            return self._typed.undo(raw)
        except scratch.Refused as error:
            raise DamagedChunk(f"what is no {KNOWN[code]} data ({error})") from error


def _inflate(raw: memoryview, size: int) -> memoryview:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, size + 1)
    except zlib.error as error:
        raise DamagedChunk(f"no gzip data ({error})") from error
    if len(data) > size:
        raise DamagedChunk(f"more than {size} bytes")
    if not inflater.eof:
        raise DamagedChunk("gzip data without an end")
    return memoryview(data)


def _unpacked(lzf: scratch.LZF, raw: memoryview, size: int) -> memoryview:
    # HDF5 stores no lzf output that is larger than its input. This bounds memory: lzf expands at most 88 times.
    if len(raw) > size + size // 16 + 64:
        raise DamagedChunk(f"{len(raw)} bytes of lzf for {size} bytes")
    try:
        data = lzf.unpack(raw, size)
    except scratch.Refused as error:
        raise DamagedChunk(f"no lzf data ({error})") from error
    if data is None:
        raise DamagedChunk(f"more or less than {size} bytes")
    return data


def _check_typed(code: int, raw: memoryview, size: int, itemsize: int) -> None:
    """Whether the chunk is as long as its filter will read: the library trusts the numbers in the chunk."""
    if code == NBIT:  # nbit does nothing for types that NumPy has
        fits = len(raw) == size
    elif code == SZIP:
        fits = len(raw) > 4 and struct.unpack_from("<I", raw)[0] == size
    else:
        bits = struct.unpack_from("<I", raw)[0] if len(raw) >= 21 else 2**32
        fits = bits <= 8 * itemsize and raw[4] <= 8 and len(raw) >= 21 + -(-size // itemsize * bits // 8)
    if not fits:
        raise DamagedChunk(f"{len(raw)} bytes that are no {KNOWN[code]} data")


def _checked(raw: memoryview) -> memoryview:
    data, checksum = raw[:-CHECKSUM], int.from_bytes(raw[-CHECKSUM:], "little")
    high, low = fletcher32(data)
    # In files from before HDF5 1.6.3 on little-endian machines, the bytes of each half are in reverse order.
    halves = checksum >> 16, checksum & 0xFFFF
    swapped = tuple((half & 0xFF) << 8 | half >> 8 for half in halves)
    if len(raw) < CHECKSUM or (high, low) not in {tuple(h % 0xFFFF for h in pair) for pair in (halves, swapped)}:
        raise DamagedChunk("contents that do not match their checksum")
    return data


def fletcher32(data: memoryview) -> tuple[int, int]:
    """Both halves of Fletcher's checksum as in HDF5, over big-endian words of 16 bits, modulo 65535."""
    whole = len(data) // 2 * 2
    words = np.frombuffer(data[:whole], ">u2")
    if whole < len(data):
        words = np.append(words, np.uint16(data[-1] << 8))
    first = second = 0
    block = 2**16
    for start in range(0, len(words), block):
        piece = words[start : start + block].astype(np.int64)
        second += len(piece) * first + int(piece @ np.arange(len(piece), 0, -1))
        first += int(piece.sum())
    return second % 0xFFFF, first % 0xFFFF


def _unshuffled(raw: memoryview, itemsize: int) -> memoryview:
    count = len(raw) // itemsize
    data = np.frombuffer(raw, np.uint8)
    out = np.empty(len(raw), np.uint8)
    elements = out[: count * itemsize].reshape(count, itemsize)
    for n in range(itemsize):
        elements[:, n] = data[n * count : (n + 1) * count]
    out[count * itemsize :] = data[count * itemsize :]
    return out.data
