"""The only place that writes HDF5 files: as images in memory, or row by row into a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mocha_core.api import FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.api import StoredArray


def image(path: Path, arrays: Mapping[str, StoredArray], user_block: int = 0) -> memoryview:
    """The bytes of an HDF5 file with these arrays; equal arrays give equal bytes.

    Args:
        path: the path of the future file, for errors.
        arrays: the arrays by name; a name such as `group/name` makes a group.
        user_block: the number of bytes at the beginning that are left free: 0, 512, 1024, 2048, ...

    Raises:
        FileError: HDF5 has no such names.
    """
    for name in arrays:
        if any(part in ("", ".") for part in name.split("/")) or "\0" in name:
            raise FileError(f"'{path}': HDF5 has no dataset named '{name}'. Rename the layer.")
    memory = BytesIO()
    try:
        with h5py.File(memory, "w", libver=("earliest", "v110"), userblock_size=user_block) as file:
            for name in sorted(arrays):
                file.create_dataset(name, data=np.asarray(arrays[name]), track_times=False)
    except (ValueError, RuntimeError, TypeError) as error:
        raise FileError(f"'{path}' cannot be written: {error}. Rename the layers.") from error
    return memoryview(memory.getvalue())


def write_rows(path: Path, **datasets: tuple[tuple[int, ...], Iterable[NDArray[Any]]]) -> None:
    """Write a file of float32 datasets that need not fit into memory.

    Args:
        path: the file.
        datasets: the shape of each dataset, and its rows in consecutive blocks.
    """
    with h5py.File(path, "w") as file:
        for name, (shape, blocks) in datasets.items():
            dataset, start = file.create_dataset(name, shape, np.float32), 0
            for block in blocks:
                dataset[start : start + len(block)] = block
                start += len(block)
