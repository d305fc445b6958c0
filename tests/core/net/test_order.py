"""One order of rows for all data layers of a net."""

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import ConfigurationError, DataError, ShapeError
from mocha_core.graph.plan import Phase


def table(top, rows=20, batch=6, order=None, **options):
    """A data layer whose rows are their numbers; `order` replaces that of its source."""

    class Table(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            if order is not None:
                source.order = order
            return source

    return Table(name=f"{top}-data", batch_size=batch, arrays=[np.arange(float(rows))[:, None]], tops=[top], **options)


def paired(system, one, other):
    return mocha.Net("net", system, [one, other, SquareLossLayer(name="loss", bottoms=["x", "y"])])


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_rows_of_shuffled_layers_stay_together(name, prefetch):
    """The loss of equal data is 0 in every minibatch, over four epochs and over the wraps between them."""
    with mocha.System(BACKENDS[name](), seed=3) as system:
        net = paired(system, table("x", shuffle=True), table("y", shuffle=True, prefetch=prefetch))
        assert [net.forward() for _ in range(13)] == [0.0] * 13
        assert net.forward_epoch() == 0.0
        seen = net.blobs["x"].numpy()[:2, 0].tolist()
        assert seen != [18, 19], "they are shuffled"
        net.destroy()


@pytest.mark.parametrize("order", [None, lambda epoch: np.roll(np.arange(20), epoch)])
def test_a_layer_that_is_not_shuffled_goes_with_none_that_is(order):
    """With an order of its own, the second layer is found out when the first minibatch is run."""
    message = r"one order of rows .*'x-data' shuffled with seed 0, 'y-data' in order\. Set shuffle on all"
    with mocha.System("cpu") as system:
        if order is None:
            with pytest.raises(ConfigurationError, match=message):
                paired(system, table("x", shuffle=True), table("y"))
        else:
            net = paired(system, table("x", shuffle=True), table("y", order=order))
            with pytest.raises(
                DataError, match=r"'y-data': order\(0\) of its source, Arrays, is not that of .*'x-data'"
            ):
                net.forward()


def test_orders_that_part_in_a_later_epoch():
    with mocha.System("cpu") as system:
        net = paired(system, table("x", batch=10), table("y", batch=10, order=lambda e: np.roll(np.arange(20), e)))
        assert [net.forward(), net.forward()] == [0.0, 0.0]
        with pytest.raises(DataError, match=r"'y-data': order\(1\) of its source"):
            net.forward()


def test_layers_of_different_lengths():
    with mocha.System("cpu") as system:
        with pytest.raises(
            ShapeError, match=r"same number of rows .*'x-data' 20, 'y-data' 19\. Row i of one goes with"
        ):
            paired(system, table("x"), table("y", rows=19))
        with pytest.raises(ShapeError, match=r"same batch_size .*'x-data' 6, 'y-data' 5"):
            paired(system, table("x"), table("y", batch=5))
        assert not list(system.nets)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (lambda epoch: np.arange(20) - 1, r"order of a source with 20 rows goes from row -1 to row 18\. Fix its order"),
        (lambda epoch: np.arange(20) + 1, r"goes from row 1 to row 20"),
        (lambda epoch: np.arange(20.0), r"expected row numbers of shape \(20,\), received \(20,\) of float64"),
        (lambda epoch: None, r"expected row numbers of shape \(20,\), received \(\) of object"),
    ],
)
def test_an_order_that_is_none(order, message):
    with mocha.System("cpu") as system:
        net = mocha.Net("net", system, [table("x", order=order)])
        with pytest.raises(DataError, match=f"Layer 'x-data'.*{message}"):
            net.forward()


def test_an_order_that_is_overwritten_later_was_copied():
    """A source that shuffles one array in place, and a fetch that sorts its row numbers."""
    kept = np.arange(20)

    def order(epoch):
        kept[:] = np.roll(np.arange(20), epoch)
        return kept

    with mocha.System("cpu") as system:
        net = mocha.Net("net", system, [table("x", batch=16, order=order)])
        net.forward()
        net.forward()
        assert net.blobs["x"].numpy()[:, 0].tolist() == [16, 17, 18, 19, 19, *range(11)]
        net.feeds.first.seek(0)
        net.forward()
        assert net.blobs["x"].numpy()[:, 0].tolist() == list(range(16))


def test_a_fetch_may_change_the_row_numbers_that_it_is_given():
    class Sorting(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch = source.fetch
            source.fetch = lambda rows, epoch, out: (rows.sort(), fetch(rows, epoch, out))[1]
            return source

    arrays = [np.arange(20.0)]
    with mocha.System("cpu", seed=1) as system:
        net = mocha.Net("net", system, [Sorting(batch_size=20, arrays=arrays, tops=["x"], shuffle=True)])
        order = net.feeds.first.rows_from(0, 20).tolist()
        net.forward()
        assert net.blobs["x"].numpy().tolist() == list(range(20)) != order
        assert net.feeds.first.rows_from(0, 20).tolist() == order


def test_a_batch_larger_than_the_data():
    """It is refused where a row would come twice, and not where rows are filled up: there each row counts once."""
    message = (
        r"Layer 'data': expected at least as many rows as its batch_size, 6, received 4: .* Use batch_size=4 or less"
    )
    body = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
    with mocha.System("cpu", dtype="float64") as system:
        few = mocha.Net("net", system, [nets.data(n=4), body, SquareLossLayer(name="loss", bottoms=["x", "target"])])
        images, _, targets = nets.rows(4)
        loss = np.sum((few.predict(images, "x") - targets) ** 2) / 2 / 4
        assert few.forward_epoch() == pytest.approx(loss, rel=1e-9)
        for run in (few.forward, lambda: few.forward(Phase.TEST), lambda: SGD(parameters(max_iter=3)).solve(few)):
            with pytest.raises(ShapeError, match=message):
                run()
        assert few.forward_epoch() == pytest.approx(loss, rel=1e-9)
        net = mocha.Net("net", system, [nets.data(n=4), body], keep=["data"])
        assert net.predict(images[:2], "x").shape == (2, 3)
        net.forward_epoch()
        np.testing.assert_array_equal(net.blobs["data"].numpy()[:4], images)
        with pytest.raises(ShapeError, match=message):
            net.forward()
        exact = mocha.Net("net", system, [nets.data(n=6), body, SquareLossLayer(name="loss", bottoms=["x", "target"])])
        SGD(parameters(max_iter=3)).solve(exact)
        assert exact.epoch == 3


def test_a_fetch_that_knows_no_epoch():
    class Old(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            source.fetch = {"two": lambda rows, out: None, "three": lambda rows, out, copy=False: None}[self.name]
            return source

    with mocha.System("cpu") as system:
        for name in ("two", "three"):
            layer = Old(name=name, batch_size=2, arrays=[np.zeros(4)], tops=["x"])
            message = (
                rf"Layer '{name}': fetch\(rows, out.* of its source, Arrays, .*def fetch\(self, rows, epoch, out\)"
            )
            with pytest.raises(ConfigurationError, match=message):
                mocha.Net("net", system, [layer])


def test_a_fetch_that_takes_whatever_comes():
    """A wrapper, such as one that counts calls, has no names of arguments to look at."""

    class Wrapped(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch = source.fetch
            source.fetch = lambda *arguments: fetch(*arguments)
            return source

    with mocha.System("cpu") as system:
        layer = Wrapped(name="data", batch_size=2, arrays=[np.arange(4.0)[:, None]], tops=["x"])
        net = mocha.Net("net", system, [layer])
        net.forward()
        assert net.blobs["x"].numpy().ravel().tolist() == [0, 1]


@pytest.mark.parametrize("prefetch", [False, True])
def test_fetch_is_called_once_for_each_epoch_of_a_minibatch(prefetch):
    calls = []

    class Watched(MemoryLayer):
        def open(self, seed):
            source = super().open(seed)
            fetch = source.fetch
            source.fetch = lambda rows, epoch, out: (calls.append((epoch, rows.tolist())), fetch(rows, epoch, out))[1]
            return source

    with mocha.System("cpu") as system:
        layer = Watched(batch_size=3, arrays=[np.arange(5.0)], tops=["x"], prefetch=prefetch, fixed=False)
        net = mocha.Net("net", system, [layer])
        for _ in range(3):
            net.forward()
        assert calls == [(0, [0, 1, 2]), (0, [3, 4]), (1, [0]), (1, [1, 2, 3])]
        calls.clear()
        net.forward_epoch()
        assert calls == [(0, [0, 1, 2]), (0, [3, 4])]
        assert net.blobs["x"].numpy().tolist() == [3, 4, 4], "the last row fills the minibatch up"
        net.destroy()
