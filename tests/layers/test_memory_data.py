import numpy as np
import pytest
from mocha_layers_std import MemoryDataLayer

import mocha_core as mocha
from mocha_core.errors import ConfigurationError, ShapeError


def batches(net, n, top="data"):
    result = []
    for _ in range(n):
        net.forward()
        result.append(net.blobs[top].numpy())
    return result


def test_wraps_and_counts_epochs(system):
    """Mocha's own case: 9 samples, batches of 6."""
    data = np.random.default_rng(1).normal(size=(9, 2, 3, 4))
    label = np.arange(9)
    net = mocha.Net("net", system, [MemoryDataLayer(data=[data, label], batch_size=6)])
    assert net.epoch == 0
    twice = np.concatenate([data, data])
    for batch, epoch in enumerate((0, 1, 2)):
        net.forward()
        np.testing.assert_array_equal(net.blobs["data"].numpy(), twice[batch * 6 : batch * 6 + 6])
        np.testing.assert_array_equal(net.blobs["label"].numpy(), np.tile(label, 2)[batch * 6 : batch * 6 + 6])
        assert net.epoch == epoch


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 1, 3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_any_rank_and_numeric_dtype(system, shape, dtype):
    data = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    net = mocha.Net("net", system, [MemoryDataLayer(tops=["x"], data=[data], batch_size=5)])
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].numpy(), data)


def test_overwriting_the_array_shows_in_the_next_batch(system):
    array = np.zeros((4, 2))
    layer = MemoryDataLayer(tops=["x"], data=[array], batch_size=4)
    net = mocha.Net("net", system, [layer])
    net.forward()
    layer.data[0][...] = 7
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].numpy(), np.full((4, 2), 7))
    assert layer.data[0] is array


def test_shuffle(system):
    rows = np.arange(10)
    layer = MemoryDataLayer(tops=["x", "y"], data=[rows, -rows], batch_size=5, shuffle=True)
    net = mocha.Net("net", system, [layer])
    pairs = []
    for _ in range(6):
        net.forward()
        np.testing.assert_array_equal(net.blobs["x"].numpy(), -net.blobs["y"].numpy())
        pairs.append(net.blobs["x"].numpy())
    epochs = [np.concatenate(pairs[i : i + 2]) for i in (0, 2, 4)]
    for epoch in epochs:
        assert not np.array_equal(epoch, rows)
        np.testing.assert_array_equal(np.sort(epoch), rows)
    assert not np.array_equal(epochs[0], epochs[1])
    again = [layer.open(system.seed).order(epoch) for epoch in range(3)]
    np.testing.assert_array_equal(again, epochs)
    assert not np.array_equal(layer.open(system.seed + 1).order(0), epochs[0])


def test_batch_larger_than_the_data(system):
    net = mocha.Net("net", system, [MemoryDataLayer(name="few", tops=["x"], data=[np.arange(3)], batch_size=7)])
    with pytest.raises(
        ShapeError, match=r"Layer 'few': expected at least as many rows as its batch_size, 7, received 3"
    ):
        net.forward()
    net.forward_epoch()
    np.testing.assert_array_equal(net.blobs["x"].numpy()[:3], [0, 1, 2])


@pytest.mark.parametrize("case", ["writable", "read-only", "a view of writable", "mapped", "one of two"])
def test_read_only_arrays_are_constants(tmp_path, case):
    array, other = np.ones((3, 2)), np.arange(3)
    array.flags.writeable = other.flags.writeable = case in ("writable", "a view of writable")
    if case == "a view of writable":
        array = array[:]
        array.flags.writeable = False
    if case == "mapped":
        np.save(tmp_path / "rows.npy", array)
        array = np.load(tmp_path / "rows.npy", mmap_mode="r")
    if case == "one of two":
        array = array.copy()
    layer = MemoryDataLayer(data=[array, other], batch_size=3)
    assert layer.open(0).fixed == (case == "read-only")


@pytest.mark.parametrize("backend", ["cpu", "native"])
def test_what_is_written_is_seen_on_every_backend_and_constants_stay_on_the_device(backend):
    with mocha.System(backend) as system:
        for constant in (False, True):
            rows = np.zeros((6, 2))
            rows.flags.writeable = not constant
            layer = MemoryDataLayer(tops=["x"], data=[rows], batch_size=4, shuffle=True)
            net = mocha.Net("net", system, [layer], keep=["x"])
            for number in (7, 0, 9):
                if not constant:
                    layer.data[0][...] = number
                net.forward()
                assert (net.blobs["x"].numpy() == (0 if constant else number)).all()
            ops = {use.op for use in net.runs.last_program().kernels()}
            assert ("mocha.gather" in ops) == (constant and backend == "native")


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_are_fetched_as_indexing_does(dtype, shuffle):
    data = np.random.default_rng(2).integers(0, 200, (11, 3, 2)).astype(dtype)
    strided = np.asfortranarray(data)[:, ::-1]
    source = MemoryDataLayer(tops=["x", "y"], data=[data, strided], batch_size=4, shuffle=shuffle).open(1)
    for rows in (source.order(0)[2:9], np.array([10]), np.array([4, 3]), np.array([3, 3, 5])):
        out = [np.full((len(rows), 3, 2), np.nan, "float32") for _ in range(2)]
        source.fetch(rows, 0, out)
        np.testing.assert_array_equal(out[0], data[rows])
        np.testing.assert_array_equal(out[1], strided[rows])


def test_a_layer_shows_no_arrays():
    layer = MemoryDataLayer(name="train", data=[np.zeros((60000, 2)), np.zeros(60000)], batch_size=2)
    assert len(repr(layer)) < 200
    assert "array(" not in repr(layer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": []}, "expected data to be a list of 2 arrays, .*received none"),
        (
            {"data": [np.zeros(3)]},
            r"list of 2 arrays, one for each of the tops \['data', 'label'\]; received float64\[3\]",
        ),
        (
            {"data": [np.zeros((3, 2)), np.zeros(4)]},
            r"equal lengths, without an axis of size 0; received float64\[3, 2\], float64\[4\]",
        ),
        ({"data": [np.zeros((0, 2)), np.zeros(0)]}, "equal lengths, without an axis of size 0"),
        ({"data": [np.zeros(3), np.array(["a", "b", "c"])]}, "arrays of numbers with at least one axis"),
        ({"data": [np.zeros(3), 5]}, "arrays of numbers with at least one axis"),
        (
            {"data": np.zeros((60000, 12)), "tops": ["x"]},
            r"each of the tops \['x'\], received one array, float64\[60000, 12\]\. For one top, write data=\[array\]",
        ),
        ({"data": [[0.0] * 12] * 60000, "tops": ["x"]}, r"received (float64\[12\], ){5}float64\[12\] and 59,994 more"),
        ({"data": None}, r"a list of 2 arrays of numbers, .*\['data', 'label'\]; received something else .*NoneType"),
        ({"data": 5}, r"a list of 2 arrays of numbers, .*received something else \('int'"),
        ({"data": [[[1, 2], [3]], [0, 1]]}, "a list of 2 arrays of numbers, .*inhomogeneous"),
        ({"data": [np.zeros((3, 0)), np.zeros(3)]}, r"axis of size 0; received float64\[3, 0\]"),
        ({"batch_size": 0}, "expected batch_size to be an integer >= 1, received 0"),
        ({"bottoms": ["x"]}, r"expected a data layer without bottoms, received \['x'\]"),
        ({"shuffle": "yes"}, "expected shuffle to be a bool such as True, received 'yes'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        MemoryDataLayer(**{"name": "train", "data": [np.zeros((3, 2)), np.zeros(3)], "batch_size": 2} | fields)
    assert "MemoryDataLayer(train)" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_masked_elements_are_refused_and_not_taken_for_numbers():
    masked = np.ma.masked_array(np.ones((4, 2)), mask=[[True, False]] * 4)
    with pytest.raises(ConfigurationError, match=r"masked elements.*array\.filled\(0\)"):
        MemoryDataLayer(name="d", data=[masked], tops=["x"], batch_size=2)
    MemoryDataLayer(name="d", data=[masked.filled(0)], tops=["x"], batch_size=2)
    MemoryDataLayer(name="d", data=[np.ma.masked_array(np.ones((4, 2)))], tops=["x"], batch_size=2)
