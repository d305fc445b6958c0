"""`NPZFormat`: networks and snapshots as NumPy's archives, which `np.load` opens too.

The comment at the end of the archive is the SHA-256 of all before it.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mocha_core.api import FileError, Format, SavedRun, SnapshotError, write_file

Arrays = dict[str, NDArray[Any]]
FACTS = "facts"
#: Characters of a digest.
SIZE = 64


class NPZFormat(Format):
    def save_network(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        write(path, arrays)

    @contextmanager
    def open_network(self, path: Path) -> Iterator[Arrays]:
        yield read(path)

    def save_snapshot(self, path: Path, run: SavedRun) -> None:
        facts = json.dumps(run.facts, sort_keys=True).encode()
        parameters = {f"parameters/{key}": np.asarray(array) for key, array in run.parameters.items()}
        slots = {f"slots/{key}": np.asarray(array) for key, array in run.slots.items()}
        write(path, {FACTS: np.frombuffer(facts, np.uint8), **parameters, **slots})

    @contextmanager
    def open_snapshot(self, path: Path) -> Iterator[SavedRun]:
        try:
            arrays = read(path)
            facts = json.loads(arrays.pop(FACTS).tobytes())
        except (FileError, KeyError, ValueError) as error:
            raise SnapshotError(f"'{path}' is no whole snapshot: {error}. Delete it.") from error
        yield SavedRun(group(arrays, "parameters/"), group(arrays, "slots/"), facts)


def group(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    memory = io.BytesIO()
    with ZipFile(memory, "w") as archive:
        for name in sorted(arrays):
            if "\0" in name or len(name) > 1000:
                raise FileError(f"'{path}' cannot hold an array named {name[:50]!r}. Rename the layer.")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(arrays[name]), allow_pickle=False)
    # The archive ends with the length of its comment.
    body = memory.getvalue()[:-2] + SIZE.to_bytes(2, "little")
    write_file(path, body, sha256(body).hexdigest().encode())


def read(path: Path) -> Arrays:
    try:
        whole = path.read_bytes()
        if sha256(whole[:-SIZE]).hexdigest().encode() != whole[-SIZE:]:
            raise FileError(f"'{path}' is damaged, or was not written by Mocha. Use another file.")
        with np.load(io.BytesIO(whole), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"'{path}' cannot be read: {error}. Use another file.") from error
