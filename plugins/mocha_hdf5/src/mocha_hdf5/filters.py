"""What HDF5's filters did to a chunk, undone, in no more memory than the chunk's declared size asks for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
KNOWN = {DEFLATE: "gzip", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", LZF: "lzf"}
CHECKSUM = 4  # bytes that fletcher32 appends


class DamagedChunk(Exception):
    """A chunk is not what its filters make of anything; says what was found."""


def decode(raw: memoryview, filters: Sequence[int], size: int, itemsize: int) -> memoryview:
    """The `size` bytes of a chunk.

    Args:
        raw: the chunk as it is stored.
        filters: the numbers of the filters that were applied, in that order; one compressor at most.
        size: of the chunk before all filters, in bytes.
        itemsize: of an element, in bytes.

    Raises:
        DamagedChunk: the chunk is damaged, or larger than it may be.
    """
    # How many bytes went into each filter; behind a compressor nobody knows, and nobody asks.
    before = [size]
    for number in filters:
        before.append(before[-1] + (CHECKSUM if number == FLETCHER32 else 0))
    for number, expected in zip(reversed(filters), reversed(before[:-1]), strict=True):
        if number == DEFLATE:
            raw = _inflate(raw, expected)
        elif number == LZF:
            raw = _unpack_lzf(raw, expected)
        elif number == FLETCHER32:
            raw = _checked(raw)
        else:
            raw = _unshuffled(raw, itemsize)
    if len(raw) != size:
        raise DamagedChunk(f"{len(raw)} bytes")
    return raw


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


def _unpack_lzf(raw: memoryview, size: int) -> memoryview:
    data, out, i = bytes(raw), bytearray(), 0
    try:
        while i < len(data):
            control = data[i]
            i += 1
            if control < 32:  # so many bytes and one more follow
                out += data[i : i + control + 1]
                i += control + 1
            else:  # repeat what was there before
                length = control >> 5
                if length == 7:
                    length += data[i]
                    i += 1
                length += 2
                distance = (control & 31) << 8 | data[i]
                i += 1
                start = len(out) - distance - 1
                if start < 0:
                    raise DamagedChunk("lzf data that refers to nothing")
                piece = out[start : start + length]
                out += (piece * (length // len(piece) + 1))[:length]
            if len(out) > size:
                raise DamagedChunk(f"more than {size} bytes")
    except IndexError as error:
        raise DamagedChunk("lzf data without an end") from error
    return memoryview(out)


def _checked(raw: memoryview) -> memoryview:
    data, checksum = raw[:-CHECKSUM], int.from_bytes(raw[-CHECKSUM:], "little")
    high, low = fletcher32(data)
    # Files from before HDF5 1.6.3 on little-endian machines have the bytes of each half the other way round.
    halves = checksum >> 16, checksum & 0xFFFF
    swapped = tuple((half & 0xFF) << 8 | half >> 8 for half in halves)
    if len(raw) < CHECKSUM or (high, low) not in {tuple(h % 0xFFFF for h in pair) for pair in (halves, swapped)}:
        raise DamagedChunk("contents that do not match their checksum")
    return data


def fletcher32(data: memoryview) -> tuple[int, int]:
    """Both halves of Fletcher's checksum as HDF5 has it, over big-endian words of 16 bits, modulo 65535."""
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
    planes = np.frombuffer(raw, np.uint8, count * itemsize).reshape(itemsize, count)
    together = np.ascontiguousarray(planes.T).reshape(-1)
    rest = np.frombuffer(raw, np.uint8)[count * itemsize :]
    return np.append(together, rest).data if rest.size else together.data
