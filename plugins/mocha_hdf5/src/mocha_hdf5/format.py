"""`HDF5Format`: networks in Mocha's flat form, and snapshots that carry their own checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.errors import SnapshotError
from mocha_core.files import write_file
from mocha_core.formats import Format
from mocha_core.snapshot import Snapshot
from mocha_hdf5 import seal, writer
from mocha_hdf5.contents import Contents, Disk
from mocha_hdf5.reader import Reader, Tables

if TYPE_CHECKING:
    from mocha_core.formats import StoredArray

#: The facts of a snapshot, as UTF-8 JSON in a dataset of bytes.
FACTS = "facts"
#: They take less than one; more bytes are not parsed.
MOST_FACTS = 2**20


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
                with _opened(contents) as snapshot:
                    yield snapshot.parameters
            else:
                with Reader(contents) as reader:
                    yield Tables(reader)

    def save_snapshot(self, path: Path, snapshot: Snapshot) -> None:
        facts = json.dumps(snapshot.facts, sort_keys=True).encode()
        arrays: dict[str, StoredArray] = {FACTS: np.frombuffer(facts, np.uint8)}
        arrays |= {f"parameters/{key}": array for key, array in snapshot.parameters.items()}
        arrays |= {f"slots/{key}": array for key, array in snapshot.slots.items()}
        rest = writer.image(path, arrays, seal.SIZE)[seal.SIZE :]
        write_file(path, seal.of(rest), rest)

    @contextmanager
    def open_snapshot(self, path: Path) -> Iterator[Snapshot]:
        if not path.exists():
            raise SnapshotError(f"'{path}' does not exist.")
        with closing(Disk(path)) as contents, _opened(contents) as snapshot:
            yield snapshot


@contextmanager
def _opened(contents: Contents) -> Iterator[Snapshot]:
    with Reader(seal.verified(contents)) as reader:
        yield Snapshot(Tables(reader, "parameters"), Tables(reader, "slots"), _facts(reader))


def _facts(reader: Reader) -> dict[str, Any]:
    try:
        table = reader.table(FACTS)
        if table.dtype != np.uint8 or table.nbytes > MOST_FACTS:
            raise ValueError
        facts = json.loads(table.read().tobytes())
        if not isinstance(facts, dict):
            raise ValueError
    except (KeyError, ValueError, RecursionError) as error:
        raise SnapshotError(f"'{reader.path}' has no facts of a training run. Delete it.") from error
    return facts
