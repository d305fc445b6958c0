"""IDX, the format of MNIST: a magic number, big-endian sizes, then the bytes.

00 00 08 nn    unsigned bytes, nn dimensions
nn times       a 32-bit size
...            the elements, last dimension fastest
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import FileError, open_regular

MAX_BYTES = 1 << 30
"""No file of this family comes near; a compressed file that grows beyond it is not one."""

_PIECE = 1 << 20


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name`, such as `train-images-idx3-ubyte`, in `folder`; its name may have `.idx` and `.gz`."""
    for stem in (name, name.replace("-idx", ".idx")):
        for candidate in (folder / stem, folder / f"{stem}.gz"):
            if candidate.is_file():
                return candidate
    return None


def read_idx(path: Path, sample: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array (N, *sample) of bytes in the IDX file `path`, which may be compressed with gzip.

    Memory grows with the contents of the file, and not with the numbers in its header.
    Raises `FileError` unless the file holds N >= 1 samples of that shape.
    """
    try:
        with open_regular(path) as raw:
            # Looked at, not trusted to the name: browsers like to unpack a download and keep its `.gz`.
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    return _read(path, unpacked, sample)
            return _read(path, raw, sample)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileError(f"{path}: the compressed file is damaged ({error}). Get it again") from error
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error}") from error


def _read(path: Path, stream: BufferedIOBase, sample: tuple[int, ...]) -> NDArray[np.uint8]:
    ndim = 1 + len(sample)
    magic = stream.read(4)
    if magic != bytes((0, 0, 0x08, ndim)):
        raise FileError(
            f"{path}: starts with {magic.hex(' ') or 'nothing'}, expected 00 00 08 {ndim:02x} "
            f"(IDX: unsigned bytes, {ndim} dimensions). Is it the right file?"
        )
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise FileError(f"{path}: ends within its header of {4 + 4 * ndim} bytes. Get it again")
    shape = struct.unpack(f">{ndim}I", sizes)
    if shape[0] == 0 or shape[1:] != sample:
        expected = " x ".join(["N >= 1", *map(str, sample)])
        raise FileError(f"{path}: its header says {_times(shape)}, expected {expected}. Another data set?")
    promised = math.prod(shape)
    if promised > MAX_BYTES:
        raise FileError(f"{path}: its header promises {_times(shape)} bytes, at most {MAX_BYTES} make sense")
    body = bytearray()
    while len(body) <= promised and (piece := stream.read(_PIECE)):
        body += piece
    if len(body) != promised:
        found = f"only {len(body)}" if len(body) < promised else "more"
        raise FileError(
            f"{path}: its header promises {_times(shape)} = {promised} bytes, it holds {found}. Get it again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
