"""HDF5DataLayer: order, epochs and shuffling."""

import threading

import h5py
import mocha_hdf5.bands
import mocha_hdf5.source
import numpy as np
import pytest
from hdf5_samples import forwards, numbered
from mocha_hdf5.table import Table

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import ConfigurationError, ShapeError
from mocha_core.layers import HDF5DataLayer
from mocha_core.testing.backends import ReferenceBackend


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
def test_three_rounds_over_three_files(write, make_net, options):
    net = make_net(source=write(*numbered(5, 1, 2), **options), batch_size=3)
    assert net.epoch == 0
    assert forwards(net, 8) == [
        [0, 1, 2], [3, 4, 5], [6, 7, 0], [1, 2, 3], [4, 5, 6], [7, 0, 1], [2, 3, 4], [5, 6, 7],
    ]  # fmt: skip
    assert net.epoch == 3


def test_a_batch_larger_than_the_data(write, make_net):
    net = make_net(source=write(*numbered(2, 1)), batch_size=7)
    with pytest.raises(ShapeError, match=r"at least as many rows as its batch_size, 7, received 3: .*batch_size=3 or"):
        net.forward()
    net.destroy()


@pytest.mark.parametrize("resident", [2**30, 0])
@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize(("n", "batch"), [(6, 4), (4, 3)])
def test_shuffling_shows_each_sample_equally_often(write, make_net, monkeypatch, n, batch, options, resident):
    monkeypatch.setattr(mocha_hdf5.source, "RESIDENT", resident)
    source = write(*numbered(n - 3, 2, 1), **options)
    net = make_net(source=source, batch_size=batch, shuffle=True)
    seen = [number for minibatch in forwards(net, n) for number in minibatch]
    assert sorted(seen) == sorted([*range(n)] * batch)
    epochs = [seen[i : i + n] for i in range(0, n * batch, n)]
    assert all(sorted(epoch) == [*range(n)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1, "every epoch had the same order"


def test_the_order_is_a_function_of_the_seed(write, make_net):
    """Whatever the layer is called: layers of one net have one order."""
    source = write(*numbered(20, 30))
    order = {
        (seed, name): forwards(make_net(seed, name=name, source=source, batch_size=50, shuffle=True), 2)
        for seed in (1, 2)
        for name in ("a", "b")
    }
    assert order[1, "a"] == order[1, "b"] != order[2, "a"] == order[2, "b"]
    assert all(sorted(batches[0]) == [*range(50)] for batches in order.values())


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4), (1, 2, 3, 2)])
def test_any_rank(write, make_net, shape):
    net = make_net(source=write(*numbered(3, 2, shape=shape)), batch_size=2)
    assert forwards(net, 2) == [[0, 1], [2, 3]]
    assert net.blobs["data"].numpy().shape == (2, *shape)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", ">f4", "float64"])
def test_any_numeric_dtype_becomes_that_of_the_net(write, make_net, dtype):
    values = np.array([[0, 1], [100, 127], [3, 4]])
    net = make_net(source=write({"x": values.astype(dtype)}), batch_size=2, tops=["x"])
    net.forward()
    assert net.blobs["x"].numpy().dtype == np.float64
    assert net.blobs["x"].numpy().tolist() == [[0, 1], [100, 127]]


def test_only_the_datasets_of_the_tops_are_read_in_the_order_of_the_tops(write, make_net):
    arrays = {"b": np.ones((3, 2)), "names": np.array([b"x", b"y", b"z"]), "a": np.zeros((3, 1))}
    net = make_net(source=write(arrays), batch_size=3, tops=["a", "b"])
    net.forward()
    assert net.blobs["a"].numpy().tolist() == [[0]] * 3
    assert net.blobs["b"].numpy().tolist() == [[1, 1]] * 3


def test_a_chunk_larger_than_the_cache_is_decompressed_once(write, make_net, monkeypatch):
    monkeypatch.setattr(mocha_hdf5.source, "CHUNK_CACHE", 8)
    reads = []
    read = Table.read
    monkeypatch.setattr(Table, "read", lambda table, *rows: (reads.append(rows), read(table, *rows))[1])
    net = make_net(source=write(*numbered(4), chunks=True, compression="gzip"), batch_size=2)
    assert forwards(net, 4) == [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert reads == [(), ()]


def test_predict_validate_and_train_share_one_file_but_no_position(write, make_net):
    source = write(*numbered(5))
    first, second = (make_net(source=source, batch_size=2) for _ in range(2))
    assert forwards(first, 1) == [[0, 1]]
    assert forwards(second, 2) == [[0, 1], [2, 3]]
    first.forward_epoch()
    assert forwards(first, 1) == [[2, 3]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 2}, "HDF5DataLayer 'data': it needs source"),
        ({"source": "", "batch_size": 2}, r"HDF5DataLayer\(data\): expected source to be a text file .* received ''"),
        ({"source": 3, "batch_size": 2}, r"expected source to be a text file .* received 3"),
        ({"source": "l.txt"}, "HDF5DataLayer 'data': it needs batch_size"),
        ({"source": "l.txt", "batch_size": 0}, r"expected batch_size to be an integer >= 1, received 0"),
        ({"source": "l.txt", "batch_size": 1, "shuffle": 1}, r"expected shuffle to be a bool .* received 1"),
        ({"source": "l.txt", "batch_size": 1, "tops": []}, r"expected a top for each dataset"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        HDF5DataLayer(name="data", **fields)


def test_closing_the_system_stops_the_thread_and_closes_the_files(write):
    source = write(*numbered(6))
    with mocha.System(ReferenceBackend()) as system:
        layer = HDF5DataLayer(name="closing", source=source, batch_size=2)
        net = mocha.Net("n", system, [layer])
        net.forward()
        assert "prefetch closing" in {thread.name for thread in threading.enumerate()}
    assert "prefetch closing" not in {thread.name for thread in threading.enumerate()}
    with h5py.File("part0.hdf5", "a"):  # HDF5 refuses this while the file is open for reading
        pass


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 2)}, {"chunks": (2, 2), "compression": "lzf"}])
@pytest.mark.parametrize("written", [0, 2])
def test_what_was_never_written_is_the_fill_value(write, make_net, tmp_path, options, written):
    source = write(*numbered(4))
    with h5py.File(tmp_path / "part0.hdf5", "a") as file:
        del file["data"]
        dataset = file.create_dataset("data", (4, 2), "f4", fillvalue=7, **options)
        if written:
            dataset[:written] = 1
        expected = dataset[:].tolist()
    net = make_net(source=source, batch_size=4)
    net.forward()
    assert net.blobs["data"].numpy().tolist() == expected
    assert expected[3] == [7, 7]


def test_two_shuffled_layers_keep_their_rows_together(tmp_path):
    """Other layers' names, file lists and chunks: the loss of equal data is 0."""
    numbers = np.arange(40.0)[:, None]
    for name, sizes in (("x", (40,)), ("y", (13, 27))):
        with open(tmp_path / f"{name}.txt", "w") as source_list:
            start = 0
            for part, size in enumerate(sizes):
                with h5py.File(tmp_path / f"{name}{part}.h5", "w") as file:
                    file[name] = numbers[start : start + size]
                source_list.write(f"{name}{part}.h5\n")
                start += size
    pair = [HDF5DataLayer(name=n, source=tmp_path / f"{n}.txt", tops=[n], batch_size=12, shuffle=True) for n in "xy"]
    memory = layers.MemoryDataLayer(name="z", data=[numbers], tops=["z"], batch_size=12, shuffle=True)
    losses = [layers.SquareLossLayer(name=f"loss-{n}", bottoms=["x", n]) for n in "yz"]
    with mocha.System("cpu", seed=1) as system:
        net = mocha.Net("net", system, [*pair, memory, *losses])
        assert [net.forward() for _ in range(9)] == [0.0] * 9
        assert net.blobs["x"].numpy()[:3, 0].tolist() != [16, 17, 18]
