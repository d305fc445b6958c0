"""Rows of a file arrive in the places that were asked for, whichever way they are copied."""

import h5py
import numpy as np
import pytest
from mocha_hdf5.source import HDF5Source

ORDERS = {
    "in order": np.arange(3, 11),
    "backwards": np.arange(11, 3, -1),
    "with gaps": np.array([0, 1, 5, 6, 7, 19]),
    "repeated": np.array([4, 4, 5, 5, 6]),
    "scattered": np.array([7, 3, 2, 9, 8, 0]),
    "one": np.array([12]),
    "over two files": np.arange(17, 24),
}


@pytest.mark.parametrize("rows", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("stored", ["<f4", ">f4", "<f8", "u1"])
@pytest.mark.parametrize("chunks", [None, (3, 2, 3)], ids=["contiguous", "chunks"])
@pytest.mark.parametrize("step", [1, 2], ids=["C-ordered", "strided"])
def test_rows_are_copied_to_their_positions(tmp_path, rows, stored, chunks, step):
    contents = np.arange(40 * 6).reshape(40, 2, 3).astype(stored)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, part in zip(paths, np.split(contents, 2), strict=True):
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=part, chunks=chunks)
    room = np.full((len(rows), 2, 3 * step), -1, np.float32)
    source = HDF5Source(paths, ["data"], None)
    source.fetch(rows, 0, [room[:, :, ::step]])
    source.close()
    np.testing.assert_array_equal(room[:, :, ::step], contents[rows].astype(np.float32))
    assert step == 1 or (room[:, :, 1::2] == -1).all()


FILTERS = {
    "none": {},
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "gzip and both": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf and both": {"compression": "lzf", "shuffle": True, "fletcher32": True},
}


@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("height", [1, 3, 16, 100])
@pytest.mark.parametrize("stored", ["<f4", ">f4", "u1", "<f8"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_minibatches_of_chunks_of_whole_rows(tmp_path, options, height, stored, libver):
    """Some chunks lie inside of a minibatch, some are cut by it, and some were never written."""
    contents = np.random.default_rng(1).integers(0, 9, (110, 3, 5)).astype(stored)
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        dataset = file.create_dataset("data", contents.shape, stored, chunks=(height, 3, 5), fillvalue=4, **options)
        dataset[:60], dataset[80:] = contents[:60], contents[80:]
        contents = dataset[:]
    source = HDF5Source([tmp_path / "a.h5"], ["data"], None)
    for batch in (1, 7, 48):
        out = np.full((batch, 3, 5), -1, np.float32)
        for start in range(0, 111 - batch, batch):
            source.fetch(np.arange(start, start + batch), 0, [out])
            np.testing.assert_array_equal(out, contents[start : start + batch].astype(np.float32))
    source.close()
