"""The guarded reader: it reads what h5py reads, in every layout, and fails with an error that names the file."""

import os
import subprocess
import sys
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from mocha_hdf5 import bands, filters, lzf
from mocha_hdf5.contents import Disk
from mocha_hdf5.reader import MOST_NAMES, Reader

import mocha_core as mocha
from mocha_core.errors import FileError
from mocha_core.layers import HDF5DataLayer
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.surrounding_layers import InputLayer
from mocha_core.train.formats import format_of

RANDOM = np.random.default_rng(3)
SMOOTH = np.cumsum(RANDOM.integers(-1, 2, (50, 7, 3)), axis=0).astype("f4")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.hdf5"


@pytest.fixture
def opened(path):
    """A function that writes an array and opens it as a table."""
    readers = []

    def opened(array, file_options=None, **options):
        with h5py.File(path, "w", **(file_options or {})) as file:
            file.create_dataset("x", data=array, **options)
        readers.append(Reader(Disk(path)))
        return readers[-1].table("x")

    yield opened
    for reader in readers:
        reader.close()


LAYOUTS = [
    {},
    {"chunks": True},
    {"chunks": (50, 7, 3)},
    {"chunks": (4, 7, 3)},
    {"chunks": (3, 2, 2)},
    {"chunks": (7, 5, 1), "compression": "gzip"},
    {"chunks": (7, 5, 1), "compression": "gzip", "shuffle": True},
    {"chunks": (7, 5, 1), "compression": "gzip", "shuffle": True, "fletcher32": True},
    {"chunks": (5, 3, 3), "compression": "lzf"},
    {"chunks": (5, 3, 3), "compression": "lzf", "shuffle": True, "fletcher32": True},
    {"chunks": (5, 3, 1), "fletcher32": True},
    {"chunks": (5, 3, 1), "shuffle": True},
    {"chunks": (60, 7, 3), "maxshape": (None, 7, 3), "compression": "gzip"},
    {"chunks": (6, 7, 3), "maxshape": (None, None, 3)},
    {"chunks": (1, 7, 3)},
    {"chunks": (1, 7, 3), "shuffle": True, "fletcher32": True},
    {"chunks": (1, 7, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
    {"chunks": (1, 7, 3), "compression": "lzf", "shuffle": True, "fletcher32": True},
    {"chunks": (3, 2, 2), "maxshape": (60, None, 3)},
    {"chunks": (3, 2, 2), "maxshape": (60, 9, None), "compression": "gzip"},
]


@pytest.mark.parametrize("file_options", [{}, {"libver": "latest"}, {"userblock_size": 1024}], ids=str)
@pytest.mark.parametrize("dtype", ["f4", ">i2", "u1"])
@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_every_layout_reads_as_h5py_reads_it(opened, options, dtype, file_options):
    array = np.abs(SMOOTH).astype(dtype)
    table = opened(array, file_options, **options)
    assert (table.shape, table.dtype, table.nbytes) == (array.shape, array.dtype, array.nbytes)
    np.testing.assert_array_equal(np.asarray(table), array)
    for start, stop in [(0, 1), (3, 9), (49, 50), (10, 10), (40, 60), (13, 14)]:
        np.testing.assert_array_equal(table.read(start, stop), array[start:stop])


@pytest.mark.parametrize("array", [np.float32(3), np.arange(5), np.zeros((0, 3)), np.zeros((3, 0, 2))], ids=str)
def test_scalars_and_nothing(opened, array):
    np.testing.assert_array_equal(np.asarray(opened(array)), array)


def test_compact_datasets(path):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((4, 3))
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I16BE, space, properties).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.arange(12, dtype=">i2").reshape(4, 3)
        )
    with Reader(Disk(path)) as reader:
        assert reader.table("x").read(1, 3).tolist() == [[3, 4, 5], [6, 7, 8]]


@pytest.fixture(params=["function", "filter"])
def lzf_by(request, monkeypatch):
    """Unpack lzf with the function that h5py exports, or with its filter, as where it exports none."""
    if request.param == "filter":
        monkeypatch.setattr(lzf, "_function", None)
    elif lzf._function is None:
        pytest.skip("h5py does not export it here")


@pytest.mark.usefixtures("lzf_by")
@pytest.mark.parametrize("kind", ["zeros", "noise", "text", "runs"])
@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 263, 264, 8191, 8192, 8193, 70_001])
def test_lzf_is_that_of_h5py(path, kind, size):
    array = {
        "zeros": np.zeros(size, "u1"),
        "noise": RANDOM.integers(0, 256, size).astype("u1"),
        "text": np.frombuffer(b"the quick brown fox " * (size // 20 + 1), "u1")[:size],
        "runs": np.repeat(RANDOM.integers(0, 9, size // 50 + 1), 50)[:size].astype("u1"),
    }[kind]
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=array, chunks=(size,), compression="lzf")
    with Reader(Disk(path)) as reader:
        np.testing.assert_array_equal(reader.table("x"), array)


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 2**17 + 1])
@pytest.mark.parametrize("value", [0, 255, None])
def test_checksums_are_those_of_the_library(path, size, value):
    array = RANDOM.integers(0, 256, size).astype("u1") if value is None else np.full(size, value, "u1")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", data=array, chunks=(size,), fletcher32=True)
        raw = bytearray(dataset.id.read_direct_chunk((0,))[1])
    with Reader(Disk(path)) as reader:
        np.testing.assert_array_equal(reader.table("x"), array)
    raw[size // 2] ^= 1
    with h5py.File(path, "a") as file:
        file["x"].id.write_direct_chunk((0,), bytes(raw))
    with Reader(Disk(path)) as reader, pytest.raises(FileError, match="do not match their checksum"):
        reader.table("x").read()


def test_chunks_that_skipped_a_filter(path):
    rows = [np.arange(4, dtype="f4") + start for start in (0, 10, 20)]
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (12,), "f4", chunks=(4,), compression="gzip", shuffle=True)
        dataset.id.write_direct_chunk((0,), rows[0].tobytes(), filter_mask=0b11)
        dataset.id.write_direct_chunk((4,), zlib.compress(rows[1].tobytes()), filter_mask=0b01)
        dataset[8:] = rows[2]
        expected = dataset[:]
    with Reader(Disk(path)) as reader:
        np.testing.assert_array_equal(reader.table("x"), expected)
    assert expected.tolist() == np.concatenate(rows).tolist()


def decode(raw, codes, size):
    """A chunk of numbers of four bytes; none of these filters needs the library to know them."""
    return filters.Decoder(codes, size, 4, None).decode(filters.Stored(memoryview(raw), 0))


@pytest.mark.usefixtures("lzf_by")
def test_no_chunk_takes_more_memory_than_declared():
    packer = zlib.compressobj(9)
    bomb = b"".join([*(packer.compress(bytes(2**20)) for _ in range(64)), packer.flush()])
    repeated = b"\0a" + b"\xe0\xff\0" * 10**6
    for raw, code in ((bomb, filters.DEFLATE), (repeated, filters.LZF)):
        tracemalloc.start()
        try:
            with pytest.raises(filters.DamagedChunk, match=r"(more than|of lzf for) 100 bytes"):
                decode(raw, [code], 100)
            assert tracemalloc.get_traced_memory()[1] < len(raw) + 2**20, "beyond a copy of what is in the file"
        finally:
            tracemalloc.stop()


@pytest.mark.usefixtures("lzf_by")
@pytest.mark.parametrize(
    ("codes", "raw"),
    [
        ([filters.DEFLATE], b""),
        ([filters.DEFLATE], zlib.compress(bytes(100))[:-1]),
        ([filters.DEFLATE], zlib.compress(bytes(99))),
        ([filters.DEFLATE], zlib.compress(bytes(100))[:-4] + b"abcd"),
        ([filters.LZF], b"\x05ab"),
        ([filters.LZF], b"\x20"),
        ([filters.LZF], b"\xe0"),
        ([filters.LZF], b"\0a\xe0\x59\0"),  # 99 bytes
        ([filters.LZF], b"\0a\xe0\x5b\0"),  # 101 bytes
        ([filters.LZF], b"\x20\x05"),
        ([filters.FLETCHER32], b""),
        ([filters.FLETCHER32], b"abc"),
        ([filters.SHUFFLE], bytes(99)),
        ([filters.SHUFFLE], b""),
        ([], bytes(101)),
    ],
)
def test_damaged_chunks(codes, raw):
    with pytest.raises(filters.DamagedChunk):
        decode(raw, codes, 100)


@pytest.mark.parametrize("options", [
    {"fs_strategy": "page", "fs_page_size": 4096},
    {"fs_strategy": "page", "fs_page_size": 512, "fs_persist": True, "libver": "v110"},
    {"fs_strategy": "fsm", "fs_persist": True},
    {"fs_strategy": "none", "userblock_size": 512},
], ids=str)  # fmt: skip
def test_files_that_say_how_their_space_is_managed(path, options):
    with h5py.File(path, "w", **options) as file:
        file["gone"] = np.zeros((50, 20))
        file.create_dataset("x", data=SMOOTH, chunks=(1, 7, 3), compression="gzip")
        del file["gone"]
    with Reader(Disk(path)) as reader:
        np.testing.assert_array_equal(reader.table("x"), SMOOTH)


def bfloat16():
    stored = h5py.h5t.IEEE_F32LE.copy()
    stored.set_fields(15, 7, 8, 0, 7)
    stored.set_size(2)
    stored.set_ebias(127)
    return stored, (np.arange(36, dtype="f4") / 3 - 4).reshape(12, 3)


def spare_bits(dtype, precision, offset):
    stored = h5py.h5t.py_create(np.dtype(dtype)).copy()
    stored.set_precision(precision)
    stored.set_offset(offset)
    return stored, (np.arange(36) * 50 - 900 * (dtype[0] == "i")).reshape(12, 3).astype(dtype)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("order", [h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE])
@pytest.mark.parametrize("options", ["", "compact", "chunks", "shuffle", "nbit"])
@pytest.mark.parametrize(
    "numbers",
    [bfloat16, lambda: spare_bits("u2", 12, 3), lambda: spare_bits("i4", 20, 5), lambda: spare_bits("i8", 40, 0)],
)
def test_numbers_that_numpy_has_in_another_form(path, numbers, options, order, written):
    stored, array = numbers()
    stored.set_order(order)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_fill_value(np.array(7, array.dtype))
    if options == "compact":
        properties.set_layout(h5py.h5d.COMPACT)
    elif options:
        properties.set_chunk((5, 2))
    if options == "shuffle":
        properties.set_shuffle()
        properties.set_deflate(4)
    elif options == "nbit":
        properties.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(path, "w") as file:
        dataset = h5py.h5d.create(file.id, b"x", stored, h5py.h5s.create_simple(array.shape), properties)
        if written:
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
        expected = file["x"][...]
    with Reader(Disk(path)) as reader:
        found = reader.table("x")
        assert (found.dtype, found.shape) == (expected.dtype.newbyteorder("="), expected.shape)
        np.testing.assert_array_equal(found.read(), expected)
        np.testing.assert_array_equal(found.read(3, 7), expected[3:7])


@pytest.mark.usefixtures("lzf_by")
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_a_damaged_chunk_among_many_is_named(opened, path, compression):
    """Small chunks are decoded together; the error is that of the one."""
    table = opened(SMOOTH, chunks=(1, 7, 3), shuffle=True, fletcher32=True, compression=compression)
    with h5py.File(path) as file:
        chunk = file["x"].id.get_chunk_info_by_coord((3, 0, 0))
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))
    with pytest.raises(FileError, match=r"dataset 'x': expected 84 bytes in the chunk at \[3, 0, 0\], found contents"):
        table.read(0, 20)
    np.testing.assert_array_equal(table.read(4, 50), SMOOTH[4:])


def test_chunks_are_kept_for_the_next_minibatch_and_no_more_than_a_few(opened, monkeypatch):
    decoded = []
    inflate = filters._inflate
    monkeypatch.setattr(filters, "_inflate", lambda *a: (decoded.append(1), inflate(*a))[1])
    table = opened(np.zeros((80, 10), "f4"), chunks=(8, 5), compression="gzip")
    monkeypatch.setattr(bands, "CHUNK_CACHE", 3 * table.band_bytes)
    for _ in range(2):
        for start in range(0, 24, 2):
            table.read(start, start + 2)
    assert len(decoded) == 3 * 2
    for start in range(0, 80, 2):
        table.read(start, start + 2)
    table.read(0, 80)
    assert len(table._layout._kept) == 3


def test_very_sparse_data_is_read_but_not_kept_as_a_whole(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2**18, 64), "f4", chunks=(2**12, 64), compression="gzip")[0] = 1  # 64 MiB
        for start in range(0, 2**18, 2**12):
            file["data"][start] = start
    assert path.stat().st_size < 2**20
    path.with_name("list.txt").write_text("x.hdf5\n")
    layer = HDF5DataLayer(name="d", source=path.with_name("list.txt"), tops=["data"], batch_size=3, shuffle=True)
    source = layer.open(0)
    rows = np.array([2**12, 7, 2**17])
    out = np.ones((3, 64), "f4")
    source.fetch(rows, 0, [out])
    source.close()
    assert out[:, 0].tolist() == [2**12, 0, 2**17]
    assert source._shards[0]._resident == []


def test_a_closed_file(opened, path):
    for options in ({}, {"chunks": (5, 7, 3)}):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=SMOOTH, **options)
        reader = Reader(Disk(path))
        table = reader.table("x")
        reader.close()
        with pytest.raises(FileError, match=r"x.hdf5'.*(was closed|cannot be read)"):
            table.read()
        with pytest.raises(FileError):
            reader.table("x")
        with pytest.raises(FileError):
            reader.names()


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 7, 3), "compression": "gzip"}])
def test_truncated_and_deleted_while_in_use(opened, path, options):
    table = opened(SMOOTH, **options)
    np.testing.assert_array_equal(table.read(0, 5), SMOOTH[:5])
    if os.name != "nt":
        os.rename(path, path.with_name("moved"))
        os.link(path.with_name("moved"), path)
        os.unlink(path.with_name("moved"))
    os.truncate(path, 1000)
    with pytest.raises(FileError, match=r"x.hdf5'.*became shorter while it was in use"):
        table.read(40, 50)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_a_deleted_file_is_read_to_its_end(opened, path):
    table = opened(SMOOTH, chunks=(5, 7, 3))
    path.unlink()
    np.testing.assert_array_equal(table, SMOOTH)


@pytest.mark.parametrize("options", [{}, {"chunks": (5, 7, 3), "compression": "gzip"}])
def test_systems_that_cannot_read_at_a_place(opened, monkeypatch, options):
    monkeypatch.delattr(os, "preadv", raising=False)
    np.testing.assert_array_equal(opened(SMOOTH, **options), SMOOTH)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_parent_and_forked_child_read_at_once(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=SMOOTH, chunks=(5, 7, 3), compression="gzip")
        file.create_dataset("y", data=SMOOTH)
    program = (  # in a process without threads
        "import os, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from mocha_hdf5.contents import Disk\nfrom mocha_hdf5.reader import Reader\n"
        "reader = Reader(Disk(Path(sys.argv[1])))\n"
        "x, y = reader.table('x'), reader.table('y')\n"
        "expected = np.array(x)\n"
        "child = os.fork()\n"
        "for _ in range(300):\n"
        "    x._layout._kept.clear()\n"
        "    assert (np.array(x) == expected).all() and (np.array(y) == expected).all()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, path], check=True, env=environment, timeout=60)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
@pytest.mark.parametrize("place", ["list", "listed", "network", "snapshot"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_pipes_and_devices_are_not_opened(tmp_path, place, kind):
    other = tmp_path / "other.hdf5"
    if kind == "fifo":
        os.mkfifo(other)
    else:
        other.symlink_to("/dev/zero")
    (tmp_path / "list.txt").write_text("other.hdf5\n")

    def attempt(system):
        if place in ("list", "listed"):
            source = other if place == "list" else tmp_path / "list.txt"
            HDF5DataLayer(name="d", source=source, batch_size=2).open(0)
        elif place == "network":
            mocha.load_network(
                other,
                mocha.Net("n", system, [InputLayer(name="d", arrays=(np.ones((2, 1)),), tops=["x"], batch_size=1)]),
            )
        else:
            with format_of(other).open_snapshot(other):
                pass

    with mocha.System(ReferenceBackend()) as system, pytest.raises(FileError, match=r"other.hdf5'"):
        attempt(system)


def test_a_file_of_very_many_groups_is_listed_in_part(path):
    with h5py.File(path, "w") as file:
        last = file
        for _ in range(40):  # each group is in the one before twice: 2**40 ways down
            group = last.create_group("one")
            last["two"] = group
            last = group
        last["x"] = 1.0
        wide = file.create_group("wide")
        first = wide.create_dataset("first", data=1.0)
        for number in range(MOST_NAMES + 10):
            wide[f"{number}"] = first
    with Reader(Disk(path)) as reader:
        assert len(reader.names()) == MOST_NAMES


def test_an_expected_name_is_found_where_a_mapping_says_it_is(path):
    with h5py.File(path, "w") as file:
        file["a/b"] = np.ones(2)
    for name in ("", "/", "a/", "/a/b", "a//b", "./a/b", "a/./b", "a/c", "a/b/c", "b", "a\0/b"):
        with Reader(Disk(path)) as reader, pytest.raises((KeyError, FileError)):
            reader.table(name)


def created(path, stored, shape=(6, 4), *, array=None, file_options=None, **properties):
    """A dataset of an h5t type, made by the low-level interface; each property is what a `set_` method takes."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for name, value in properties.items():
        getattr(plist, f"set_{name}")(*value)
    with h5py.File(path, "w", **(file_options or {})) as file:
        dataset = h5py.h5d.create(file.id, b"x", stored, h5py.h5s.create_simple(shape), plist)
        if array is not None:
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array, stored)


def as_h5py(path):
    with h5py.File(path) as file:
        return file["x"][()]


def as_ours(path):
    with Reader(Disk(path)) as reader:
        return np.array(reader.table("x"))


KINDS_OF_NUMBERS = [f"{order}{kind}" for order in "<>" for kind in ("i1", "u2", "i4", "u8", "f2", "f4", "f8")]


@pytest.mark.parametrize("dtype", KINDS_OF_NUMBERS)
@pytest.mark.parametrize("options", [{}, {"chunks": (4, 3)}, {"chunks": (4, 3), "compression": "lzf"}], ids=str)
@pytest.mark.parametrize("written", [0, 5])
def test_fill_values_are_those_of_h5py(path, dtype, options, written):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (10, 7), dtype, fillvalue=3, **options)
        if written:
            dataset[:written] = np.arange(7)
    np.testing.assert_array_equal(as_ours(path), as_h5py(path))


@pytest.mark.parametrize("options", [{}, {"chunks": (3, 2)}, {"chunks": (3, 2), "compression": "gzip"}], ids=str)
@pytest.mark.parametrize("fill", [None, True])
def test_booleans_are_zero_and_one(path, options, fill):
    array = RANDOM.random((6, 4)) < 0.5
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (8, 4), bool, fillvalue=fill, **options)[:6] = array
    np.testing.assert_array_equal(as_ours(path), as_h5py(path).astype("i1"))


@pytest.mark.parametrize("dtype", ["u1", ">i2", "i8"])
def test_enumerations_are_their_numbers(opened, dtype):
    array = np.array([[5, 1], [1, 3]])
    table = opened(array, dtype=h5py.enum_dtype({"cat": 1, "dog": 3, "fish": 5}, basetype=dtype))
    assert np.asarray(table).tolist() == array.tolist()


@pytest.mark.parametrize("stored", ["STD_B8LE", "STD_B16BE"])
def test_bit_fields_are_unsigned_numbers(path, stored):
    """PyTables writes booleans so."""
    stored = getattr(h5py.h5t, stored)
    array = RANDOM.integers(0, 2, (6, 4)).astype(stored.dtype)
    created(path, stored, array=array, chunk=[(3, 4)], shuffle=[])
    np.testing.assert_array_equal(as_ours(path), array)


FILTERS = {
    "scaleoffset": {"scaleoffset": (h5py.h5z.SO_INT, 0)},
    "scaleoffset, 9 bits": {"scaleoffset": (h5py.h5z.SO_INT, 9)},
    "scaleoffset and gzip": {"scaleoffset": (h5py.h5z.SO_INT, 0), "deflate": (4,)},
    "scaleoffset, shuffle, gzip": {"scaleoffset": (h5py.h5z.SO_INT, 0), "shuffle": (), "deflate": (4,)},
    "scaleoffset and fletcher32": {"scaleoffset": (h5py.h5z.SO_INT, 0), "fletcher32": ()},
    "nbit": {"filter": (h5py.h5z.FILTER_NBIT, 0, ())},
    "nbit and gzip": {"filter": (h5py.h5z.FILTER_NBIT, 0, ()), "deflate": (4,)},
    "szip": {"szip": (h5py.h5z.SZIP_NN_OPTION_MASK, 4)},
    "szip and fletcher32": {"szip": (h5py.h5z.SZIP_EC_OPTION_MASK, 4), "fletcher32": ()},
    "shuffle behind gzip": {"deflate": (4,), "shuffle": ()},
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("stored", ["STD_I32LE", "STD_U16BE"])
def test_filters_of_the_library(path, name, stored):
    stored = getattr(h5py.h5t, stored)
    if "szip" in FILTERS[name] and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 library has no szip")
    array = RANDOM.integers(100, 300, (6, 4)).astype(stored.dtype)
    created(path, stored, array=array, chunk=[(4, 3)], **FILTERS[name])
    np.testing.assert_array_equal(as_ours(path), as_h5py(path))


def test_scaled_floats_and_their_fill_value(path):
    array = RANDOM.normal(size=(50, 6)).astype("f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (60, 6), "f4", chunks=(16, 4), scaleoffset=3, fillvalue=-9)[:50] = array
    np.testing.assert_array_equal(as_ours(path), as_h5py(path))


INDEXES = {
    "tree of version 1": {},
    "single chunk": {"file": {"libver": "latest"}, "chunks": (40, 3)},
    "implicit": {"file": {"libver": "latest"}, "early": True},
    "fixed array": {"file": {"libver": "latest"}, "maxshape": (60, 3)},
    "extensible array": {"file": {"libver": "latest"}, "maxshape": (None, 3)},
    "tree of version 2": {"file": {"libver": "latest"}, "maxshape": (None, None)},
    "user block": {"file": {"userblock_size": 512}},
}


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_chunk_indexes(path, index, compression, rows):
    options = {"chunks": (3, 2), "compression": compression} | INDEXES[index]
    file_options, early = options.pop("file", {}), options.pop("early", False)
    array = RANDOM.random((40, 3))
    if early:
        created(path, h5py.h5t.IEEE_F64LE, (40, 3), array=array, file_options=file_options, chunk=[options["chunks"]],
                alloc_time=[h5py.h5d.ALLOC_TIME_EARLY])  # fmt: skip
    else:
        with h5py.File(path, "w", **file_options) as file:
            dataset = file.create_dataset("x", (40, 3), "f8", **options)
            dataset[:20], dataset[30:] = array[:20], array[30:]
            array[20:30] = dataset[20:30]
    with Reader(Disk(path)) as reader:
        table = reader.table("x")
        for start in range(0, 40, rows):
            np.testing.assert_array_equal(table.read(start, start + rows), array[start : start + rows])


def test_a_dataset_that_was_made_smaller_and_larger_again(path):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", data=RANDOM.random((40, 6)), maxshape=(None, None), chunks=(3, 2))
        dataset.resize((11, 3))
        dataset.resize((17, 5))
    np.testing.assert_array_equal(as_ours(path), as_h5py(path))


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_large_chunks_of_one_value(path, value, compression):
    shape = (40, 2**17)  # 20 MiB
    with h5py.File(path, "w") as file:
        file.create_dataset("x", shape, "f4", chunks=shape, compression=compression)[...] = value
    assert path.stat().st_size < 400_000
    with Reader(Disk(path)) as reader:
        rows = reader.table("x").read(3, 5)
    assert rows.shape == (2, 2**17)
    assert (rows == value).all()


def test_a_file_as_matlab_writes_it(path):
    """A user block with text, attributes on everything, booleans as uint8, groups of references, empty arrays."""
    with h5py.File(path, "w", userblock_size=512, libver=("earliest", "v110")) as file:
        file.create_dataset("x", data=np.eye(4, dtype="u1"), chunks=(4, 4), compression="gzip", compression_opts=3)
        file["x"].attrs["MATLAB_class"] = np.bytes_("logical")
        file["x"].attrs["MATLAB_int_decode"] = np.int32(1)
        file.create_group("#refs#")["a"] = np.zeros(2, "u8")
        file["#refs#"].attrs["H5PATH"] = np.bytes_("/")
        file.create_dataset("cell", (1,), h5py.ref_dtype)[0] = file["#refs#/a"].ref
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128) + bytes(384))
    np.testing.assert_array_equal(as_ours(path), np.eye(4))


def test_a_file_as_netcdf_writes_it(path):
    """Dimension scales, creation order, a fill value, fletcher32, an unlimited axis."""
    with h5py.File(path, "w", libver="latest", track_order=True) as file:
        file["time"] = np.arange(5.0)
        file["time"].make_scale("time")
        dataset = file.create_dataset(
            "x", (5, 3), ">f4", maxshape=(None, 3), chunks=(2, 3), fillvalue=9.96921e36, shuffle=True, fletcher32=True,
            compression="gzip", track_order=True,
        )  # fmt: skip
        dataset[:3] = np.ones(3)
        dataset.dims[0].attach_scale(file["time"])
        dataset.attrs["units"] = "K"
    np.testing.assert_array_equal(as_ours(path), as_h5py(path))


def test_chunk_indexes_that_share_nodes_are_refused(path):
    """Each node is led to once, so that going through an index takes no longer than reading the file."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(5000), chunks=(1,))
    content = bytearray(path.read_bytes())
    at = content.find(b"TREE\x01\x01")  # a node of level 1; its second child becomes its first
    assert at > 0
    first, second = at + 24 + 24, at + 24 + 24 + 32
    content[second : second + 8] = content[first : first + 8]
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"x.hdf5' is damaged: expected the index at byte \d+ to lead"):
        as_ours(path)
