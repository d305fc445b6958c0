"""What transformers of data layers are given, and what they may do."""

import numpy as np
import pytest
from toys.backends import BACKENDS
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.describe.transformer import Transformer, draw
from mocha_core.errors import ConfigurationError, DataError, PluginError, ShapeError
from mocha_core.graph.value import Spec
from mocha_core.net.feed import Feed


class Times(Transformer):
    fixed = True

    def __init__(self, factor):
        self.factor = factor

    def transform(self, rows, seed, epoch, numbers):
        return rows * self.factor


class First(Transformer):
    """The first `count` elements of a row."""

    fixed = True

    def __init__(self, count):
        self.count = count

    def infer(self, row):
        return Spec((self.count, *row.shape[1:]), row.dtype)

    def transform(self, rows, seed, epoch, numbers):
        return rows[:, : self.count]


class Noise(Transformer):
    """Adds to each row a number of its own in each epoch."""

    def transform(self, rows, seed, epoch, numbers):
        return rows + draw(seed, epoch, numbers).reshape(-1, *[1] * (rows.ndim - 1))


ROWS = np.arange(40.0).reshape(10, 4)


def data(*transformers, batch=4, **options):
    options = {"arrays": [ROWS, np.arange(10.0)], "tops": ["x", "y"]} | options
    return MemoryLayer(name="data", batch_size=batch, transformers=transformers, **options)


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_they_are_applied_in_order_each_to_its_top(name, prefetch):
    """(row * 2)[:3] * 10; the shape of a row changes on the way."""
    layer = data(("x", Times(2)), ("y", Times(-1)), ["x", First(3)], ("x", Times(10)), prefetch=prefetch)
    with mocha.System(BACKENDS[name]()) as system:
        net = mocha.Net("net", system, [layer], keep=["x", "y"])
        assert net.blobs["x"].shape == (4, 3)
        for start in (0, 4, 8):
            rows = np.arange(start, start + 4) % 10
            net.forward()
            np.testing.assert_array_equal(net.blobs["x"].numpy(), ROWS[rows, :3] * 20)
            np.testing.assert_array_equal(net.blobs["y"].numpy(), -1.0 * rows)
        net.forward_epoch()
        np.testing.assert_array_equal(net.blobs["x"].numpy()[:2], ROWS[8:, :3] * 20)
        net.destroy()
    assert ROWS[3, 2] == 14, "the arrays are left alone"


def test_predictions_are_of_blobs_and_are_not_transformed():
    with mocha.System("cpu") as system:
        net = mocha.Net("net", system, [data(("x", First(3)), ("x", Times(2)))])
        given = np.ones((2, 3))
        np.testing.assert_array_equal(net.predict(given, "x"), given)


def minibatches(system, count, *transformers, **options):
    layer = data(*transformers, **options)
    feed = Feed(layer, layer.open(system), "float32", system)
    feed.begin(wrap=True, minibatches=count)
    found = [[array.copy() for array in feed.fetch(layer.batch_size)] for _ in range(count)]
    feed.close()
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def test_what_is_drawn_depends_on_seed_epoch_and_row_number_alone():
    """Not on the batch size, nor on the order, nor on whether a thread fetches ahead."""
    expected, numbers = minibatches(5, 5, ("x", Noise()), batch=4)  # two epochs
    noise = (expected - ROWS[numbers.astype(int)])[:, 0].reshape(2, 10)
    assert len(np.unique(noise.round(5))) == 20
    assert ((noise >= -1e-5) & (noise < 1)).all()
    for batch, count in ((10, 2), (2, 10)):
        for options in ({}, {"prefetch": True}, {"shuffle": True}, {"prefetch": True, "fixed": False}):
            found, numbers = minibatches(5, count, ("x", Noise()), batch=batch, **options)
            by_row = found.reshape(2, 10, 4)[np.arange(2)[:, None], np.argsort(numbers.reshape(2, 10), axis=1)]
            assert by_row.tobytes() == expected.tobytes()
    assert not np.array_equal(minibatches(6, 5, ("x", Noise()), batch=4)[0], expected), "another seed"


def test_one_object_draws_the_same_for_several_tops_and_two_objects_do_not():
    pair = {"arrays": [np.zeros((10, 4)), np.zeros((10, 2))]}
    noise = Noise()
    x, y = minibatches(1, 5, ("x", noise), ("y", noise), **pair)
    np.testing.assert_array_equal(x[:, 0], y[:, 0])
    x, y = minibatches(1, 5, ("x", Noise()), ("y", Noise()), **pair)
    assert not (x[:, 0] == y[:, 0]).any()


def test_drawn_numbers_are_uniform_and_their_own():
    numbers = draw(7, 3, np.arange(20_000), 3)
    assert numbers.dtype == np.float32
    assert numbers.shape == (20_000, 3)
    np.testing.assert_allclose(numbers.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(3), atol=0.03)
    assert draw(7, 3, np.array([5, 2**40 + 5, 5])).ravel()[[0, 2]].tolist() == [numbers[5, 0]] * 2
    assert draw(7, 3, np.array([2**40 + 5]))[0, 0] != numbers[5, 0]
    assert draw(7, 4, np.array([5]))[0, 0] != numbers[5, 0]
    assert draw(8, 3, np.array([5]))[0, 0] != numbers[5, 0]
    assert draw(2**64 - 1, 2**31, np.array([0]), 9).shape == (1, 9)


@pytest.mark.parametrize(
    ("transformers", "fixed", "resident"),
    [
        ([], True, True),
        ([("x", Times(2))], True, True),
        ([("x", Noise())], True, False),
        ([("x", Times(2))], False, False),
    ],
)
def test_rows_stay_on_the_device_where_neither_they_nor_what_is_done_to_them_changes(transformers, fixed, resident):
    with mocha.System(BACKENDS["deferred"]()) as system:
        net = mocha.Net("net", system, [data(*transformers, fixed=fixed)])
        net.forward()
        assert ("mocha.gather" in {use.op for use in net.runs.last_program().kernels()}) == resident


class Fails(Times):
    def transform(self, rows, seed, epoch, numbers):
        return [1] + [2, "a"][self.factor]


class Wrong(First):
    def transform(self, rows, seed, epoch, numbers):
        return rows


class Nothing(Times):
    def transform(self, rows, seed, epoch, numbers):
        rows *= self.factor


class Refuses(Times):
    def infer(self, row):
        raise ShapeError("no such rows")


class Scatters(Times):
    def infer(self, row):
        return row.shape


@pytest.mark.parametrize(
    ("transformer", "kind", "message"),
    [
        (Fails(1), PluginError, r"Layer 'data', top 'x', epoch 0: transform\(\) of .*Fails.* failed: TypeError"),
        (Wrong(3), DataError, r"transform\(\) of .*Wrong.* returned an array of shape \(4, 4\), but inferred \(4, 3\)"),
        (
            Times(1j),
            ShapeError,
            r"transform\(\) of .*Times.*: expected an array of numbers, received ndarray of complex",
        ),
        (Nothing(1), ShapeError, r"transform\(\) of .*Nothing.*: expected an array of numbers, received NoneType"),
        (Refuses(1), ShapeError, "no such rows"),
        (Scatters(1), PluginError, r"Layer 'data', infer\(\) of the transformer .*Scatters.* failed"),
    ],
)
def test_a_transformer_that_does_not_do_its_work(transformer, kind, message):
    with mocha.System("cpu") as system, pytest.raises(kind, match=message):
        mocha.Net("net", system, [data(("x", transformer))]).forward()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Times(2), r"a list of pairs such as \[\('data', transformers\.Scale\(0\.5\)\)\], received <"),
        ([Times(2)], "a list of pairs"),
        ([("x", 2)], r"a list of pairs .*received \('x', 2\)"),
        ([("x", Times)], "a list of pairs"),
        ({"x": Times(2)}, "a list of pairs"),
        ([("z", Times(2))], "beside one of the tops x, y, received 'z'"),
    ],
)
def test_bad_fields(given, message):
    with pytest.raises(ConfigurationError, match=message):
        MemoryLayer(name="data", batch_size=4, transformers=given, arrays=[ROWS, ROWS], tops=["x", "y"])


def test_training_on_transformed_rows_is_training_on_rows_that_were_transformed_before():
    from toys.inner_product import InnerProductLayer
    from toys.square_loss import SquareLossLayer

    results = []
    for transformers, rows in (([("x", Times(2)), ("x", First(2))], ROWS / 40), ([], ROWS[:, :2] / 20)):
        layer = data(*transformers, arrays=[rows, ROWS[:, :1] / 40], prefetch=True)
        dense = InnerProductLayer(name="z", output_dim=1, bottoms=["x"], tops=["z"])
        with mocha.System("cpu", dtype="float64") as system:
            net = mocha.Net("net", system, [layer, dense, SquareLossLayer(name="loss", bottoms=["z", "y"])])
            SGD(parameters(max_iter=6)).solve(net)
            results.append(net.parameters["z"]["weight"].numpy())
            net.destroy()
    np.testing.assert_array_equal(*results)
