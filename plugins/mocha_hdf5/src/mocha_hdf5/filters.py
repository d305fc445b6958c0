"""Undoes HDF5's filters, in memory that is bounded by the chunks' declared size and their size in the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mocha_hdf5 import scratch
from mocha_hdf5.lzf import LZF as LZFUnpacker
from mocha_hdf5.scratch import TypedFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
#: For sums of words, and of words times their number, of so many words at a time.
_WEIGHTS = np.stack([np.ones(2**12), np.arange(2**12)], axis=1)


class DamagedChunk(Exception):
    """A chunk is no possible output of its filters. The message says what was found."""


class Stored(NamedTuple):
    """A chunk as stored in the file. A set bit of `mask` says that this filter was not applied."""

    raw: memoryview
    mask: int


class Decoder:
    """Undoes the filters of a dataset.

    zlib unpacks gzip, because it takes a limit, and `lzf.py` unpacks lzf. The HDF5 library unpacks the other formats.

    Args:
        filters: the filters' numbers, in the order in which they were applied; at most one compressor.
        size: the size of a chunk before all filters, in bytes.
        itemsize: the size of an element, in bytes.
        typed: undoes the first filter, if it is one of `TYPED`.
    """

    def __init__(self, filters: Sequence[int], size: int, itemsize: int, typed: TypedFilter | None) -> None:
        self._filters = list(filters)
        self._size = size
        self._itemsize = itemsize
        self._typed = typed
        self._plan = self._steps(0)
        self._lzf = LZFUnpacker()

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

    @property
    def largest(self) -> int:
        """The maximum of bytes in the file of a chunk that passed all filters; compressors keep no larger output."""
        return _largest(self._size) + CHECKSUM * self._filters.count(FLETCHER32)

    def decode_all(self, raw: NDArray[np.uint8], sizes: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """Fill each row of `out` with the contents of a chunk that passed all filters.

        Args:
            raw: the chunks as stored, one after the other.
            sizes: their sizes in the file, in bytes.
            out: C-ordered rows of `size` bytes.

        Returns:
            False if a chunk is damaged, or if the filters have to be undone chunk by chunk.
        """
        at = next((n for n, code in enumerate(self._filters) if code in COMPRESSORS), len(self._filters))
        before, packed, behind = self._filters[:at], self._filters[at : at + 1], self._filters[at + 1 :]
        if self._typed is not None or behind not in ([], [FLETCHER32]):
            return False
        width, starts = self._size + CHECKSUM * before.count(FLETCHER32), np.cumsum(sizes) - sizes
        if not packed:
            return bool((sizes == width).all()) and self._finish(raw.reshape(len(out), width), before, out)
        if behind:
            sizes = sizes - CHECKSUM
            if sizes.min() <= 0 or not _match(*_apart(raw, starts, sizes), sizes):
                return False
        rows = np.empty((len(out), width), np.uint8) if before else out
        return self._unpack_all(packed[0], raw, starts, sizes, rows) and self._finish(rows, before, out)

    def _unpack_all(
        self,
        code: int,
        raw: NDArray[np.uint8],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        rows: NDArray[np.uint8],
    ) -> bool:
        """Fill each row with what a chunk was compressed from; whether all chunks fill their rows exactly."""
        width = rows.shape[1]
        places = list(zip(starts.tolist(), sizes.tolist(), strict=True))
        if code == LZF:
            return self._lzf.unpack(raw, places, rows)
        source, room = raw.data, rows.reshape(-1).data
        try:
            for n, (start, size) in enumerate(places):
                data = _inflate(source[start : start + size], width)
                if len(data) != width:
                    return False
                room[n * width : (n + 1) * width] = data
        except DamagedChunk:
            return False
        return True

    def _finish(self, rows: NDArray[np.uint8], codes: Sequence[int], out: NDArray[np.uint8]) -> bool:
        """Undo shuffle and fletcher32 in all rows of bytes at once; whether all checksums match."""
        for code in reversed(codes):
            if code == SHUFFLE:
                target = out if rows.shape == out.shape and rows is not out else np.empty_like(rows)
                rows = _unshuffled(rows, self._itemsize, target)
            else:
                rows, checksums = rows[:, :-CHECKSUM], rows[:, -CHECKSUM:]
                if not _match(rows, checksums, np.full(len(rows), rows.shape[1])):
                    return False
        if rows is not out:
            out[...] = rows
        return True

    def release(self) -> None:
        """Release memory until the next chunk."""
        self._lzf = LZFUnpacker()
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

    def _unpacked(self, raw: memoryview, size: int) -> memoryview:
        """The bytes that a chunk was packed from by lzf."""
        if len(raw) > _largest(size):  # this bounds memory: lzf expands at most 88 times
            raise DamagedChunk(f"{len(raw)} bytes of lzf for {size} bytes")
        out = np.empty((1, size), np.uint8)
        if not self._lzf.unpack(np.frombuffer(raw, np.uint8), [(0, len(raw))], out):
            raise DamagedChunk(f"no lzf data of {size} bytes")
        return out.data.cast("B")

    def _undo(self, n: int, raw: memoryview, expected: int) -> memoryview:
        code = self._filters[n]
        if code == DEFLATE:
            return _inflate(raw, expected)
        if code == FLETCHER32:
            return _checked(raw)
        if code == SHUFFLE:
            rows = np.frombuffer(raw, np.uint8)[None]
            return _unshuffled(rows, self._itemsize, np.empty_like(rows)).reshape(-1).data
        if code == LZF:
            return self._unpacked(raw, expected)
        assert self._typed is not None
        _check_typed(code, raw, self._size, self._itemsize, self._typed.precision)
        try:
            return self._typed.undo(raw)
        except scratch.Refused as error:
            raise DamagedChunk(f"what is no {KNOWN[code]} data ({error})") from error


def _largest(size: int) -> int:
    """The maximum of bytes that a compressor makes of so many: HDF5 keeps no output that is larger than its input."""
    return size + size // 16 + 64


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


def _check_typed(code: int, raw: memoryview, size: int, itemsize: int, precision: int) -> None:
    """Whether the chunk is as long as its filter will read: the library trusts the numbers in the chunk."""
    if code == NBIT:  # nbit does nothing for types without spare bits
        spare = precision < 8 * itemsize
        fits = len(raw) > size // itemsize * precision // 8 if spare else len(raw) == size
    elif code == SZIP:
        fits = len(raw) > 4 and struct.unpack_from("<I", raw)[0] == size
    else:
        bits = struct.unpack_from("<I", raw)[0] if len(raw) >= 21 else 2**32
        fits = bits <= 8 * itemsize and raw[4] <= 8 and len(raw) >= 21 + -(-size // itemsize * bits // 8)
    if not fits:
        raise DamagedChunk(f"{len(raw)} bytes that are no {KNOWN[code]} data")


def _checked(raw: memoryview) -> memoryview:
    data, checksum = raw[:-CHECKSUM], int.from_bytes(raw[-CHECKSUM:], "little")
    halves = checksum >> 16, checksum & 0xFFFF
    # In files from before HDF5 1.6.3 on little-endian machines, the bytes of each half are in reverse order.
    swapped = [(half & 0xFF) << 8 | half >> 8 for half in halves]
    found = [int(half[0]) for half in fletcher32(np.frombuffer(data, np.uint8)[None], np.array([len(data)]))]
    if len(raw) < CHECKSUM or found not in [[half % 0xFFFF for half in pair] for pair in (halves, swapped)]:
        raise DamagedChunk("contents that do not match their checksum")
    return data


def fletcher32(rows: NDArray[np.uint8], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both halves of Fletcher's checksum of each row, as in HDF5, over big-endian words of 16 bits, modulo 65535.

    Args:
        rows: each of as many bytes as `sizes` says, and then zeros.
        sizes: numbers of bytes.
    """
    if rows.shape[1] % 2:
        rows = np.concatenate([rows, np.zeros((len(rows), 1), np.uint8)], axis=1)
    words, left = rows.view("<u2"), (sizes + 1) // 2
    first, second = np.zeros((2, len(rows)), np.int64)
    start, count = 0, words.shape[1]
    while start < count:
        # Products of matrices are fast, if they have several rows, and exact here, as no sum reaches 2**53.
        width = min(count - start, len(_WEIGHTS) if count <= len(_WEIGHTS) else 2**10)
        at = start + width * np.arange(min((count - start) // width, 16))
        pieces = words[:, start : start + width * len(at)].astype(np.float64).reshape(-1, width)
        here, behind = (pieces @ _WEIGHTS[:width]).T.reshape(2, len(rows), -1).astype(np.int64)
        first += here.sum(axis=1)
        second = (second + ((left[:, None] - at) * here - behind).sum(axis=1)) % 0xFFFF
        start += width * len(at)
    # To exchange the bytes of a word multiplies it by 256, modulo 65535, and so do sums of such words.
    return second * 256 % 0xFFFF, first % 0xFFFF * 256 % 0xFFFF


def _apart(
    raw: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rows of bytes that lie somewhere in `raw`, with zeros behind them, and the checksum behind each."""
    rows = np.zeros((len(sizes), sizes.max()), np.uint8)
    for row, start, size in zip(rows, starts.tolist(), sizes.tolist(), strict=True):
        row[:size] = raw[start : start + size]
    return rows, raw[(starts + sizes)[:, None] + np.arange(CHECKSUM)]


def _match(rows: NDArray[np.uint8], checksums: NDArray[np.uint8], sizes: NDArray[np.int64]) -> bool:
    """Whether all rows of bytes have these checksums, in the order of bytes that is used today.

    Args:
        rows, sizes: as for `fletcher32`.
        checksums: `CHECKSUM` bytes for each row.
    """
    expected = np.ascontiguousarray(checksums).view("<u4")[:, 0]
    halves = zip(fletcher32(rows, sizes), (expected >> 16, expected & 0xFFFF), strict=True)
    return all((found == half % 0xFFFF).all() for found, half in halves)


def _unshuffled(rows: NDArray[np.uint8], itemsize: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each row of bytes, unshuffled into a row of `out`, which is returned."""
    whole = rows.shape[1] // itemsize * itemsize
    parts = rows[:, :whole].reshape(len(rows), itemsize, -1)
    width = 1
    while width < 8 and itemsize % (2 * width) == 0:  # arithmetic of whole arrays is faster than moving bytes
        pairs = parts[:, 1::2].astype(f"<u{2 * width}")
        pairs <<= 8 * width
        pairs |= parts[:, ::2]
        parts, width = pairs, 2 * width
    out[:, :whole].view(parts.dtype).reshape(len(rows), -1, itemsize // width)[...] = parts.transpose(0, 2, 1)
    out[:, whole:] = rows[:, whole:]
    return out
