"""`HDF5Format`: networks in Mocha's flat form, and snapshots that carry their own checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.errors import FileError, SnapshotError
from mocha_core.files import replacing
from mocha_core.formats import Format
from mocha_core.snapshot import Snapshot
from mocha_hdf5 import seal
from mocha_hdf5.reader import Reader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.formats import StoredArray

#: The facts of a snapshot, as UTF-8 JSON in a dataset of bytes.
FACTS = "facts"


class HDF5Format(Format):
    """Networks: a dataset `conv1___filter` for each parameter, C-ordered. Files of Mocha and of its Caffe tool.

    Snapshots: the groups `parameters` and `slots`, and `facts` as JSON, in an HDF5 file whose first 512 bytes
    (HDF5's user block, which other tools skip) are a seal over the rest.
    """

    def save_network(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        _write(path, arrays, sealed=False)

    @contextmanager
    def open_network(self, path: Path) -> Iterator[Mapping[str, StoredArray]]:
        """Also opens the parameters of a snapshot."""
        if seal.is_sealed(path):
            with self.open_snapshot(path) as snapshot:
                yield snapshot.parameters
        else:
            with Reader(path) as reader:
                yield reader.arrays()

    def save_snapshot(self, path: Path, snapshot: Snapshot) -> None:
        facts = json.dumps(snapshot.facts, sort_keys=True).encode()
        arrays: dict[str, StoredArray] = {f"parameters/{key}": array for key, array in snapshot.parameters.items()}
        arrays |= {f"slots/{key}": array for key, array in snapshot.slots.items()}
        _write(path, {FACTS: np.frombuffer(facts, np.uint8), **arrays}, sealed=True)

    @contextmanager
    def open_snapshot(self, path: Path) -> Iterator[Snapshot]:
        seal.check(path)
        with Reader(path) as reader:
            arrays = reader.arrays()
        try:
            facts = json.loads(arrays.pop(FACTS).tobytes())
        except (KeyError, ValueError) as error:
            raise SnapshotError(f"'{path}' has no facts of a training run. Delete it.") from error
        groups: dict[str, dict[str, NDArray[Any]]] = {"parameters": {}, "slots": {}}
        for name, array in arrays.items():
            group, _, key = name.partition("/")
            groups.setdefault(group, {})[key] = array
        yield Snapshot(groups["parameters"], groups["slots"], facts)


def _write(path: Path, arrays: Mapping[str, StoredArray], sealed: bool) -> None:
    """Write arrays by name, so that equal arrays give equal bytes."""
    for name in arrays:
        if any(part in ("", ".") for part in name.split("/")) or "\0" in name:
            raise FileError(f"'{path}': HDF5 has no dataset named '{name}'. Rename the layer.")
    user_block = seal.SIZE if sealed else 0
    with replacing(path) as temporary:
        try:
            with h5py.File(temporary, "w", libver=("earliest", "v110"), userblock_size=user_block) as file:
                for name in sorted(arrays):
                    file.create_dataset(name, data=arrays[name], track_times=False)
        except (ValueError, RuntimeError, TypeError) as error:
            raise FileError(f"'{path}' cannot be written: {error}. Rename the layers.") from error
        if sealed:
            seal.put(temporary)
