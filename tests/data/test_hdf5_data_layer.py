"""HDF5DataLayer: order, epochs, shuffling, and every error by its message."""

import os
import threading

import h5py
import mocha_hdf5.bands
import mocha_hdf5.source
import numpy as np
import pytest
from mocha_hdf5.table import Table

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import ConfigurationError, FileError, ShapeError
from mocha_core.layers import HDF5DataLayer
from mocha_core.testing.backends import ReferenceBackend


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes HDF5 files, each a dict of arrays, and returns the path of a list of them."""
    monkeypatch.chdir(tmp_path)

    def write(*files, **options):
        names = [f"part{number}.hdf5" for number in range(len(files))]
        for name, arrays in zip(names, files, strict=True):
            with h5py.File(name, "w") as file:
                for key, array in arrays.items():
                    file.create_dataset(key, data=array, **options)
        (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
        return tmp_path / "list.txt"

    return write


@pytest.fixture
def make_net():
    nets = []

    def make_net(seed=0, **options):
        layer = HDF5DataLayer(**({"name": "data"} | options))
        system = mocha.System(ReferenceBackend(), seed=seed, dtype="float64")
        nets.append(mocha.Net("n", system, [layer]))
        return nets[-1]

    yield make_net
    for net in nets:
        net.destroy()


def numbered(*sizes, shape=(2, 3)):
    """Files of samples that all hold their own number, with the number negated as label."""
    files, start = [], 0
    for size in sizes:
        index = np.arange(start, start + size)
        data = np.broadcast_to(index.reshape(-1, *[1] * len(shape)), (size, *shape))
        files.append({"data": data.astype("float64"), "label": -index[:, None].astype("float32")})
        start += size
    return files


def forwards(net, n):
    """The sample numbers of n minibatches; all tops and elements must agree on them."""
    batches = []
    for _ in range(n):
        net.forward()
        data, label = net.blobs["data"].numpy(), net.blobs["label"].numpy()
        assert (data == -label.reshape(-1, *[1] * (data.ndim - 1))).all()
        batches.append((-label[:, 0]).astype(int).tolist())
    return batches


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


def test_the_list_may_have_spaces_and_blank_lines(write, make_net, tmp_path):
    source = write(*numbered(2, 1))
    source.write_text("\n  part1.hdf5 \t\n\n   \n" + str(tmp_path / "part0.hdf5") + "\r\n")
    assert forwards(make_net(source=source, batch_size=3), 1) == [[2, 0, 1]]


def test_paths_are_relative_to_the_working_directory_and_else_to_the_list(write, make_net, tmp_path, monkeypatch):
    write(*numbered(2, 1))
    (tmp_path / "lists").mkdir()
    (tmp_path / "part0.hdf5").rename(tmp_path / "lists" / "part0.hdf5")
    (tmp_path / "lists" / "part1.hdf5").write_text("decoy: the working directory comes first")
    (tmp_path / "lists" / "l.txt").write_text("part0.hdf5\npart1.hdf5\n")
    assert forwards(make_net(source="lists/l.txt", batch_size=3), 1) == [[0, 1, 2]]


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


def fails(make_net, source, message, **options):
    with pytest.raises(FileError, match=message):
        make_net(source=source, **({"batch_size": 2} | options))


def test_list_missing(make_net, tmp_path):
    fails(make_net, tmp_path / "no.txt", r"Source list '.*no.txt' does not exist. Write a text file with the path")


def test_list_is_a_folder(make_net, tmp_path):
    fails(make_net, tmp_path, r"Source list '.*' cannot be read: it is a folder. Give a file")


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_list_empty(make_net, tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    fails(make_net, tmp_path / "list.txt", r"Source list '.*list.txt' is empty. Write a text file")


@pytest.mark.parametrize("options", [{}, {"userblock_size": 1024}])
def test_an_hdf5_file_stands_for_a_list_of_itself(write, make_net, tmp_path, options):
    with h5py.File(tmp_path / "one.dat", "w", **options) as file:
        file["x"] = np.arange(3.0)
    net = make_net(source=tmp_path / "one.dat", tops=["x"], batch_size=3)
    net.forward()
    assert net.blobs["x"].numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_in_another_encoding_is_named(write, make_net, tmp_path, encoding):
    source = write(*numbered(2))
    source.write_bytes("part0.hdf5\r\n".encode(encoding))
    name = encoding[:6].upper()
    fails(make_net, source, rf"list.txt' is in {name}, expected UTF-8. Save it as UTF-8: .*PowerShell")


def test_a_list_that_is_not_in_utf8_names_the_line(write, make_net):
    source = write(*numbered(2))
    source.write_bytes(b"part0.hdf5\ndonn\xe9es.hdf5\n")
    fails(make_net, source, r"list.txt' is not a text file in UTF-8: line 2 has the byte 0xe9.*Save it as UTF-8")


@pytest.mark.parametrize("line", ['"part 0.hdf5"', "'part 0.hdf5'", "part 0.hdf5", "~/part 0.hdf5", '"~/part 0.hdf5"'])
def test_quotes_and_the_home_folder(write, make_net, tmp_path, monkeypatch, line):
    source = write(*numbered(2))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    os.rename("part0.hdf5", "part 0.hdf5")
    source.write_text(f"{line}\n")
    assert forwards(make_net(source="~/list.txt", batch_size=2), 1) == [[0, 1]]


def test_a_folder_in_a_list(write, make_net, tmp_path):
    source = write(*numbered(2))
    (tmp_path / "folder").mkdir()
    source.write_text("folder\n")
    fails(make_net, source, r"names 'folder'.* It is a folder: write the path of each of its files")


def test_a_pattern_in_a_list(write, make_net):
    source = write(*numbered(2))
    source.write_text("*.hdf5\n")
    fails(make_net, source, r"names '\*.hdf5'.* Patterns are not expanded: .*'ls \*.hdf5 > train.txt'")


def few_open(monkeypatch, most):
    monkeypatch.setattr(mocha_hdf5.source, "MOST_OPEN", most)
    monkeypatch.setattr(mocha_hdf5.source, "RESIDENT", 0)


def open_parts():
    """Descriptors of HDF5 files."""
    links = [f"/proc/self/fd/{descriptor}" for descriptor in os.listdir("/proc/self/fd")]
    return [link for link in links if os.path.exists(link) and os.readlink(link).endswith(".hdf5")]


STORED = [{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}]


@pytest.mark.parametrize("options", STORED)
@pytest.mark.parametrize("shuffle", [False, True])
def test_few_of_many_files_are_open(write, make_net, monkeypatch, options, shuffle):
    few_open(monkeypatch, 3)
    source = write(*numbered(*[2] * 20), **options)
    net = make_net(source=source, batch_size=8, shuffle=shuffle)
    seen = [number for batch in forwards(net, 10) for number in batch]
    assert sorted(seen) == sorted([*range(40)] * 2)
    if os.path.isdir("/proc/self/fd"):
        assert 0 < len(open_parts()) <= 3


def test_chunks_are_kept_for_each_top_and_not_for_each_file(write, make_net, monkeypatch):
    few_open(monkeypatch, 3)
    kept = set()
    get = mocha_hdf5.bands.Bands.get
    monkeypatch.setattr(mocha_hdf5.bands.Bands, "get", lambda bands, *a: (kept.add(bands), get(bands, *a))[1])
    net = make_net(source=write(*numbered(*[2] * 20), chunks=True, compression="gzip"), batch_size=8)
    forwards(net, 10)
    assert len(kept) == 2


@pytest.mark.parametrize("options", STORED)
def test_files_are_found_again_from_another_working_directory(write, make_net, tmp_path, monkeypatch, options):
    few_open(monkeypatch, 1)
    write(*numbered(*[2] * 5), **options)
    net = make_net(source="list.txt", batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(*numbered(*[2] * 5)[::-1])  # files of the same names
    assert forwards(net, 4) == [[4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]


def test_paths_are_those_of_the_working_directory_in_which_the_layer_was_made(write, tmp_path, monkeypatch):
    write(*numbered(2, 2))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "some.txt").write_text("part0.hdf5\n")
    made = [HDF5DataLayer(name="data", source=source, batch_size=1) for source in ("list.txt", "lists/some.txt")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(*numbered(*[2] * 5)[::-1])  # files of the same names
    (tmp_path / "list.txt").write_text("part0.hdf5\npart1.hdf5\n")
    for layer, rows in zip(made, (4, 2), strict=True):
        with mocha.System(ReferenceBackend(), dtype="float64") as system:
            for name in ("one", "another"):
                net = mocha.Net(name, system, [layer])
                assert forwards(net, rows) == [[i] for i in range(rows)]


def rewritten(path):
    copy = path.with_suffix(".new")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)  # at no moment is there no file, as the layer may fetch the next rows at this moment


def touched(path):
    os.utime(path, ns=(0, 0))


def extended(path):
    times = os.stat(path)
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("options", STORED)
@pytest.mark.parametrize("change", [rewritten, touched, extended])
def test_a_file_that_changed_before_it_was_opened_again(write, make_net, tmp_path, monkeypatch, options, change):
    few_open(monkeypatch, 1)
    net = make_net(source=write(*numbered(4, 4), **options), batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    monkeypatch.setattr(mocha_hdf5.bands, "CHUNK_CACHE", 0)
    change(tmp_path / "part1.hdf5")
    change(tmp_path / "part0.hdf5")
    for _ in range(2):
        with pytest.raises(FileError, match=r"'part[01].hdf5' was changed or replaced while it was in use: .* again"):
            forwards(net, 3)


def test_a_file_that_is_gone_when_it_is_opened_again(write, make_net, tmp_path, monkeypatch):
    few_open(monkeypatch, 1)
    net = make_net(source=write(*numbered(40, 40)), batch_size=4)
    assert forwards(net, 1) == [[0, 1, 2, 3]]
    os.remove("part1.hdf5")
    for _ in range(2):
        with pytest.raises(FileError, match=r"'part1.hdf5' does not exist"):
            forwards(net, 30)


def test_file_missing(write, make_net):
    source = write(*numbered(2))
    os.remove("part0.hdf5")
    fails(make_net, source, r"list.txt' names 'part0.hdf5', which is neither in .* nor beside .*part0.hdf5'\)")


@pytest.mark.parametrize("content", [b"", b"label,data\n1,2\n", b"\x89HDF"])
def test_file_not_hdf5(write, make_net, tmp_path, content):
    source = write(*numbered(2))
    (tmp_path / "part0.hdf5").write_bytes(content)
    fails(make_net, source, r"'part0.hdf5' is not an HDF5 file")


def test_file_truncated(write, make_net, tmp_path):
    source = write(*numbered(50, 50))
    content = (tmp_path / "part1.hdf5").read_bytes()
    (tmp_path / "part1.hdf5").write_bytes(content[: len(content) // 2])
    fails(make_net, source, r"'part1.hdf5': cannot be opened: .*truncated.* The file is damaged")


def test_dataset_missing(write, make_net):
    source = write({"images": np.zeros((2, 3)), "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5' has no dataset 'data'. It has: images, label")


def test_dataset_is_a_group(write, make_net):
    source = write({"data/x": np.zeros((2, 3)), "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5': expected a dataset at 'data', found a group. Only numbers")


@pytest.mark.parametrize("link", [h5py.SoftLink("/label"), h5py.ExternalLink("part1.hdf5", "data")])
def test_links_are_not_followed(write, make_net, link):
    source = write({"label": np.zeros((2, 1))}, *numbered(2))
    with h5py.File("part0.hdf5", "a") as file:
        file["data"] = link
    fails(make_net, source, r"'part0.hdf5': expected no link at 'data', found a (soft )?link")


def test_virtual_datasets_are_refused(write, make_net):
    source = write({"label": np.zeros((2, 1))})
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[...] = h5py.VirtualSource("other.hdf5", "data", (2, 3))
    with h5py.File("part0.hdf5", "a") as file:
        file.create_virtual_dataset("data", layout)
    fails(make_net, source, r"'part0.hdf5', dataset 'data': its contents are in other files")


def test_declared_sizes_without_contents_are_refused(write, make_net):
    source = write({"label": np.zeros((2, 1))})
    with h5py.File("part0.hdf5", "a") as file:
        file.create_dataset("data", shape=(2**40, 2**40), dtype="f4", chunks=(1, 1024), compression="gzip")
    fails(make_net, source, r"dataset 'data': float32\[.*\] takes \d{25} bytes, the file holds at most \d{7};")


@pytest.mark.parametrize("data", [np.zeros((0, 3)), np.float64(1)])
def test_no_rows(write, make_net, data):
    source = write({"data": data, "label": np.zeros((2, 1))})
    fails(make_net, source, r"'part0.hdf5', dataset 'data': expected samples along the first axis, found shape \(")


def test_row_counts_of_tops_differ(write, make_net):
    source = write({"data": np.zeros((3, 2)), "label": np.zeros((2, 1))})
    fails(
        make_net,
        source,
        r"'part0.hdf5': expected as many samples .* found 3 of 'data', 2 of 'label'.*first axis.*MATLAB",
    )


@pytest.mark.parametrize("other", [np.zeros((2, 4)), np.zeros((2, 3, 1))])
def test_shapes_of_files_differ(write, make_net, other):
    source = write({"x": np.zeros((2, 3))}, {"x": other})
    message = r"'part1.hdf5', dataset 'x': expected samples of shape \(3,\) as in 'part0.hdf5', found \((4,|3, 1)\)"
    fails(make_net, source, message, tops=["x"])


@pytest.mark.parametrize("data", [np.array([b"a", b"b"]), np.ones((2, 3)) * 1j])
def test_dtype_not_numeric(write, make_net, data):
    source = write({"data": data, "label": np.zeros((2, 1))})
    fails(make_net, source, r"dataset 'data': expected integers or floating-point numbers, found ")


def test_a_failure_of_the_prefetching_thread_reaches_the_caller(write, make_net, tmp_path):
    source = write(*numbered(6), chunks=True, fletcher32=True)
    with h5py.File("part0.hdf5", "r") as file:
        offset = file["data"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "part0.hdf5").read_bytes())
    content[offset] ^= 1
    (tmp_path / "part0.hdf5").write_bytes(content)
    net = make_net(source=source, batch_size=2)
    for _ in range(2):  # the net stays usable: trying again tries again
        with pytest.raises(
            FileError, match=r"'part0.hdf5', dataset 'data': expected 288 bytes .* not match their checksum"
        ):
            net.forward()


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


def test_a_list_saved_with_a_byte_order_mark(write, make_net):
    path = write({"x": np.arange(4.0)})
    path.write_text("part0.hdf5\r\n", encoding="utf-8-sig")
    net = make_net(source=path, tops=["x"], batch_size=4)
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].numpy(), np.arange(4.0))


def test_a_line_too_long_for_a_path_is_shown_in_part(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x" * 100_000)
    with pytest.raises(FileError, match=r"names 'x{100}\.\.\.', which is neither in the working directory") as caught:
        HDF5DataLayer(name="d", source=path, tops=["x"], batch_size=1).open(0)
    assert len(str(caught.value)) < 1000


def test_samples_without_elements(write):
    path = write({"x": np.zeros((3, 0, 2))})
    with pytest.raises(FileError, match=r"part0.hdf5', dataset 'x': expected samples .* found shape \(3, 0, 2\)"):
        HDF5DataLayer(name="d", source=path, tops=["x"], batch_size=1).open(0)


def test_a_file_that_becomes_shorter_during_a_run(write, make_net):
    path = write({"x": np.ones((4000, 64))})
    net = make_net(source=path, tops=["x"], batch_size=500)
    net.forward()
    os.truncate("part0.hdf5", 100_000)

    def epoch():
        for _ in range(8):
            net.forward()

    with pytest.raises(FileError, match=r"part0.hdf5': the file became shorter while it was in use"):
        epoch()


@pytest.mark.parametrize("line", ["a\0b.hdf5", "folder", ".", "/", "/dev/zero", "/dev/null"])
def test_lines_that_name_no_file(write, make_net, tmp_path, line):
    source = write(*numbered(2))
    (tmp_path / "folder").mkdir()
    source.write_text(f"part0.hdf5\n{line}\n")
    fails(make_net, source, r"list.txt' names '.*', which is neither in the working directory nor beside")


def test_a_list_as_long_as_no_list_is(make_net, tmp_path, monkeypatch):
    monkeypatch.setattr(mocha_hdf5.source_list, "LONGEST", 100)
    (tmp_path / "list.txt").write_text("x.hdf5\n" * 20)
    fails(make_net, tmp_path / "list.txt", r"Source list '.*' has more than 100 bytes, which is no list of files")


def test_a_name_with_a_null_byte(make_net):
    fails(make_net, "a\0b", r"Source list 'a\0b' cannot be opened: .*null")


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


def test_fill_values_that_are_not_defined_are_refused(write, make_net, tmp_path):
    source = write({"label": np.zeros((4, 1))})
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(tmp_path / "part0.hdf5", "a") as file:
        space = h5py.h5s.create_simple((4, 2))
        h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, properties)
        defined = properties.fill_value_defined() != h5py.h5d.FILL_VALUE_UNDEFINED
    net = make_net(source=source, batch_size=4)
    net.forward()
    assert defined, "the library has a default"
    assert net.blobs["data"].numpy().tolist() == [[0, 0]] * 4


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
