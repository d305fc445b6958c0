"""`HDF5Format`: networks in Mocha's flat form, and snapshots that carry their own checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.api import Format, SavedRun, SnapshotError, write_file
from mocha_hdf5 import seal, writer
from mocha_hdf5.caffe import check_not_caffe
from mocha_hdf5.contents import Contents, Disk
from mocha_hdf5.reader import Reader, Tables

if TYPE_CHECKING:
    from mocha_core.api import StoredArray

#: The datasets with the facts of a snapshot and the names of its arrays, both UTF-8 JSON in a dataset of bytes.
FACTS, NAMES = "facts", "names"
#: The maximum number of bytes of JSON that are parsed.
MOST_TEXT = 2**24


class HDF5Format(Format):
    """Networks: a dataset `conv1___filter` for each parameter, C-ordered. Files of Mocha and of its Caffe tool.

    Snapshots: the groups `parameters` and `slots`, and `facts` as JSON, in an HDF5 file whose first 512 bytes
    (HDF5's user block, which other tools skip) are a seal over the rest.
    """

    def save_network(self, path: Path, arrays: Mapping[str, StoredArray]) -> None:
        write_file(path, writer.image(path, arrays))

    @contextmanager
    def open_network(self, path: Path) -> Iterator[Mapping[str, StoredArray]]:
        """Also opens the parameters of a snapshot."""
        with closing(Disk(path)) as contents:
            if seal.is_sealed(contents):
                with _opened(contents) as run:
                    yield run.parameters
            else:
                with Reader(contents) as reader:
                    check_not_caffe(path, reader)
                    yield Tables(reader)

    def save_snapshot(self, path: Path, run: SavedRun) -> None:
        names = {"parameters": sorted(run.parameters), "slots": sorted(run.slots)}
        texts = {FACTS: run.facts, NAMES: names}
        arrays: dict[str, StoredArray] = {
            name: np.frombuffer(json.dumps(text, sort_keys=True).encode(), np.uint8) for name, text in texts.items()
        }
        arrays |= {f"parameters/{key}": array for key, array in run.parameters.items()}
        arrays |= {f"slots/{key}": array for key, array in run.slots.items()}
        rest = writer.image(path, arrays, seal.SIZE)[seal.SIZE :]
        write_file(path, seal.of(rest), rest)

    @contextmanager
    def open_snapshot(self, path: Path) -> Iterator[SavedRun]:
        if not path.exists():
            raise SnapshotError(f"'{path}' does not exist.")
        with closing(Disk(path)) as contents, _opened(contents) as run:
            yield run


@contextmanager
def _opened(contents: Contents) -> Iterator[SavedRun]:
    with Reader(seal.verified(contents)) as reader:
        names = _text(reader, NAMES)
        parameters, slots = (_strings(reader, names.get(group)) for group in ("parameters", "slots"))
        yield SavedRun(Tables(reader, "parameters/", parameters), Tables(reader, "slots/", slots), _text(reader, FACTS))


def _text(reader: Reader, name: str) -> dict[str, Any]:
    try:
        table = reader.table(name)
        if table.dtype != np.uint8 or table.nbytes > MOST_TEXT:
            raise ValueError
        value = json.loads(table.read().tobytes())
        if not isinstance(value, dict):
            raise ValueError
    except (KeyError, ValueError, RecursionError) as error:
        raise SnapshotError(f"'{reader.path}' has no {name} of a training run. Delete it.") from error
    return value


def _strings(reader: Reader, names: object) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SnapshotError(f"'{reader.path}' does not say which arrays it holds. Delete it.")
    return names
