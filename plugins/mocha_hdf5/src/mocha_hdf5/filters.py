"""Undoes HDF5's filters, in memory that is bounded by the chunks' declared size and their size in the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mocha_hdf5 import scratch
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

    @property
    def stored(self) -> int | None:
        """The size of each chunk in the file, in bytes; None if it depends on the contents."""
        if not set(self._filters) <= {SHUFFLE, FLETCHER32}:
            return None
        return self._size + CHECKSUM * self._filters.count(FLETCHER32)

    def decode_all(self, raw: memoryview) -> memoryview | None:
        """The contents of chunks of `stored` bytes each, one after the other; None if one of them is damaged."""
        return self._finish(np.frombuffer(raw, np.uint8).reshape(-1, self.stored or 1), self._filters)

    def unpack_all(self, chunks: Sequence[Stored]) -> memoryview | None:
        """The contents of chunks, one after the other; None if one is damaged, or did not pass all filters."""
        if self._typed is not None or any(chunk.mask for chunk in chunks):
            return None
        raws = [chunk.raw for chunk in chunks]
        try:
            for place, (n, expected) in enumerate(self._plan, start=1):
                if self._filters[n] == LZF:
                    raws = self._unpacked(raws, expected)
                elif self._filters[n] == FLETCHER32:
                    if min(map(len, raws)) <= CHECKSUM:
                        return None
                    checksums = b"".join(bytes(raw[-CHECKSUM:]) for raw in raws)
                    raws = [raw[:-CHECKSUM] for raw in raws]
                    sizes = [len(raw) for raw in raws]
                    padded = b"".join(bytes(raw).ljust(max(sizes), b"\0") for raw in raws)
                    together = np.frombuffer(padded, np.uint8).reshape(len(raws), -1)
                    if not _match(_even(together), np.array(sizes), checksums):
                        return None
                else:
                    raws = [self._undo(n, raw, expected) for raw in raws]
                if self._filters[n] in COMPRESSORS and all(len(raw) == expected for raw in raws):
                    together = np.frombuffer(b"".join(raws), np.uint8).reshape(len(raws), expected)
                    return self._finish(together, self._filters[: len(self._filters) - place])
        except DamagedChunk:
            pass
        return None

    def _finish(self, chunks: NDArray[np.uint8], codes: Sequence[int]) -> memoryview | None:
        """Undo shuffle and fletcher32 in all rows of bytes at once."""
        for code in reversed(codes):
            if code == SHUFFLE:
                chunks = _unshuffled_all(chunks, self._itemsize)
            else:
                if chunks.shape[1] <= CHECKSUM:
                    return None
                chunks, checksums = chunks[:, :-CHECKSUM], chunks[:, -CHECKSUM:].tobytes()
                if not _match(_even(chunks), np.full(len(chunks), chunks.shape[1]), checksums):
                    return None
        return np.ascontiguousarray(chunks).reshape(-1).data if chunks.shape[1] == self._size else None

    def _unpacked(self, raws: Sequence[memoryview], size: int) -> list[memoryview]:
        """What each of the chunks was packed from by lzf, of `size` bytes."""
        self._lzf = self._lzf or scratch.LZF()
        # HDF5 stores no lzf output that is larger than its input. This bounds memory: lzf expands at most 88 times.
        if any(len(raw) > size + size // 16 + 64 for raw in raws):
            raise DamagedChunk(f"{max(map(len, raws))} bytes of lzf for {size} bytes")
        found: list[memoryview] = []
        for start in range(0, len(raws), scratch.LZF.AT_ONCE):
            try:
                data = self._lzf.unpack(raws[start : start + scratch.LZF.AT_ONCE], size)
            except scratch.Refused as error:
                raise DamagedChunk(f"no lzf data ({error})") from error
            if data is None:
                raise DamagedChunk(f"more or less than {size} bytes")
            found += [row.data for row in data]
        return found

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
            return self._unpacked([raw], expected)[0]
        assert self._typed is not None
        _check_typed(code, raw, self._size, self._itemsize, self._typed.precision)
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


def _even(chunks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of bytes, with a zero behind each if their number is odd."""
    n, size = chunks.shape
    return np.ascontiguousarray(chunks) if size % 2 == 0 else np.concatenate([chunks, np.zeros((n, 1), np.uint8)], 1)


def _match(chunks: NDArray[np.uint8], sizes: NDArray[np.int64], checksums: bytes) -> bool:
    """Whether all rows of bytes have these checksums, written in the order of bytes that is used today.

    Args:
        chunks: rows of even length, each of as many bytes as `sizes` says, and then zeros.
        sizes: up to 2**16.
        checksums: `CHECKSUM` bytes for each row.
    """
    words = chunks.view(">u2").astype(np.float64)  # exact, as no sum reaches 2**53; products of matrices are fast
    count = words.shape[1]
    first, behind = (words @ np.stack([np.ones(count), np.arange(count)], axis=1)).T
    found = first, (sizes + 1) // 2 * first - behind
    expected = np.frombuffer(checksums, "<u4")
    halves = expected & 0xFFFF, expected >> 16
    return all((f.astype(np.int64) % 0xFFFF == e % 0xFFFF).all() for f, e in zip(found, halves, strict=True))


def _unshuffled_all(chunks: NDArray[np.uint8], itemsize: int) -> NDArray[np.uint8]:
    """Each row of bytes, unshuffled."""
    n, size = chunks.shape
    whole = size // itemsize * itemsize
    out = np.empty(chunks.shape, np.uint8)
    out[:, :whole].reshape(n, -1, itemsize)[...] = chunks[:, :whole].reshape(n, itemsize, -1).transpose(0, 2, 1)
    out[:, whole:] = chunks[:, whole:]
    return out


def _unshuffled(raw: memoryview, itemsize: int) -> memoryview:
    count = len(raw) // itemsize
    data = np.frombuffer(raw, np.uint8)
    out = np.empty(len(raw), np.uint8)
    elements = out[: count * itemsize].reshape(count, itemsize)
    for n in range(itemsize):
        elements[:, n] = data[n * count : (n + 1) * count]
    out[count * itemsize :] = data[count * itemsize :]
    return out.data
