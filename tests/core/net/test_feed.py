"""Which rows come when: epochs, wrapping, shuffling, prefetching, seeking."""

import threading

import numpy as np
import pytest
from toys.memory import Arrays, MemoryLayer

from mocha_core.errors import DataError, FileError
from mocha_core.net.feed import Feed
from mocha_core.net.prefetch import Prefetcher


def feed(n, batch, **options):
    arrays = (np.arange(n, dtype=float), np.arange(n * 2.0).reshape(n, 2))
    layer = MemoryLayer(name="data", batch_size=batch, arrays=arrays, **options)
    return Feed(layer, layer.open(7), "float32")


def consume(f, batches, wrap=True):
    """The rows of some minibatches, as a run takes them, and the epoch after each."""
    rows, epochs = [], []
    size = f.layer.batch_size
    f.begin(wrap)
    for _ in range(batches):
        first, second = f.fetch(size)
        assert second[:, 0].tolist() == [2 * r for r in first]
        rows.append(first.astype(int).tolist())
        f.seek(f.cursor + size)
        epochs.append(f.epoch)
    return rows, epochs


def flatten(batches):
    return [row for batch in batches for row in batch]


def test_memory_9_rows_batch_6_gives_epochs_0_1_2():
    rows, epochs = consume(feed(9, 6), 3)
    assert epochs == [0, 1, 2]
    assert rows == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 0, 1, 2], [3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_minibatch_of_very_many_epochs(shuffle):
    f = feed(8, 2**18, shuffle=shuffle)
    f.begin(wrap=True)
    rows = f.fetch(2**18)[0].reshape(-1, 8)
    assert (np.sort(rows, axis=1) == np.arange(8)).all()
    assert len(np.unique(rows, axis=0)) > 1000 if shuffle else (rows == np.arange(8)).all()


def test_several_files_of_8_rows_batch_3_end_in_epoch_3():
    rows, epochs = consume(feed(8, 3), 8)
    assert epochs == [0, 0, 1, 1, 1, 2, 2, 3]
    assert flatten(rows) == list(range(8)) * 3


@pytest.mark.parametrize(
    ("n", "batch", "expected"),
    [
        (10_000, 100, [100, 100, 100]),
        (9, 6, [2, 1, 2, 1]),
        (10, 3, [4, 3, 3, 4]),
        (60_000, 64, [938, 937, 938, 937]),
        (4, 6, [1, 1]),
    ],
)
def test_batches_per_epoch(n, batch, expected):
    f = feed(n, batch)
    counted = []
    for _ in expected:
        counted.append(f.batches_to_epoch(batch))
        epoch = f.epoch
        f.seek(f.cursor + batch * counted[-1])
        assert f.epoch > epoch
        assert (f.cursor - batch) // n == epoch, "one fewer would not have been enough"
    assert counted == expected


@pytest.mark.parametrize(("n", "batch"), [(6, 4), (4, 6)])
def test_shuffled_every_row_comes_once_per_epoch(n, batch):
    rows, _ = consume(feed(n, batch, shuffle=True), n)
    flat = flatten(rows)
    for start in range(0, len(flat), n):
        assert sorted(flat[start : start + n]) == list(range(n))
    epochs = [tuple(flat[start : start + n]) for start in range(0, len(flat), n)]
    assert len(set(epochs)) > 1


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    orders = [Arrays([np.arange(50)], seed=seed).order(epoch).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)
    source = Arrays([np.arange(50)], seed=1)
    assert [source.order(e).tolist() for e in (1, 0, 1)] == [orders[1], orders[0], orders[1]]
    assert Arrays([np.arange(4)]).order(3).tolist() == [0, 1, 2, 3]


def test_without_wrapping_the_last_row_fills_the_batch_up():
    f = feed(8, 3)
    assert f.rows_from(6, 3, wrap=False).tolist() == [6, 7, 7]
    assert f.rows_from(6, 3, wrap=True).tolist() == [6, 7, 0]
    assert feed(2, 7).rows_from(0, 7).tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert consume(f, 3, wrap=False)[0] == [[0, 1, 2], [3, 4, 5], [6, 7, 7]]


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_many_minibatches_at_once_are_those_one_by_one(n):
    f = feed(n, 3, shuffle=True)
    for start in range(2 * n):
        together = f.rows_from(start, 12).reshape(4, 3)
        assert together.tolist() == [f.rows_from(start + i, 3).tolist() for i in range(0, 12, 3)]
        epoch = [f.source.order(start // n)[min(start % n + i, n - 1)] for i in range(12)]
        assert f.rows_from(start, 12, wrap=False).tolist() == epoch


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_seeking_resumes_exactly(prefetch, shuffle):
    f = feed(7, 3, shuffle=shuffle, prefetch=prefetch)
    rows, _ = consume(f, 9)
    other = feed(7, 3, shuffle=shuffle, prefetch=prefetch)
    for start in (4, 0, 8):
        other.seek(start * 3)
        assert consume(other, 1)[0] == rows[start : start + 1]
    other.seek(6)
    assert consume(other, 5)[0] == rows[2:7]
    for open_feed in (f, other):
        open_feed.close()


def test_prefetching_gives_the_same_rows_and_leaves_no_thread():
    plain, ahead = feed(11, 4, shuffle=True), feed(11, 4, shuffle=True, prefetch=True)
    assert consume(plain, 8) == consume(ahead, 8)
    assert [t.name for t in threading.enumerate() if t.name.startswith("prefetch")] == ["prefetch data"]
    assert consume(plain, 3, wrap=False) == consume(ahead, 3, wrap=False), "another kind of run starts anew"
    ahead.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
    assert ahead.source.closed


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_failing_source_reaches_the_caller_at_its_row(prefetch):
    f = feed(12, 3, prefetch=prefetch, broken_row=7)
    assert consume(f, 2)[0] == [[0, 1, 2], [3, 4, 5]]
    for _ in range(2):
        with pytest.raises(FileError, match="row 7 cannot be read"):
            consume(f, 1)
    f.seek(9)
    assert consume(f, 2)[0] == [[9, 10, 11], [0, 1, 2]], "and the feed lives on"
    f.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.fixture
def quick(monkeypatch):
    """However busy the machine is, loading counts as quick."""
    monkeypatch.setattr(Prefetcher, "QUICK", float("inf"))


def watched(f):
    """The numbers of rows that are fetched at a time from now on."""
    counts, fetch = [], f.source.fetch
    f.source.fetch = lambda rows, epoch, out: (counts.append(len(rows)), fetch(rows, epoch, out))[1]
    return counts


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("rows", [1000, 1001, 70])
def test_small_minibatches_are_fetched_several_at_a_time(quick, wrap, rows):
    plain, ahead = feed(rows, 3, shuffle=True), feed(rows, 3, shuffle=True, prefetch=True)
    counts = watched(ahead)
    batches = plain.batches_to_epoch(3) * (3 if wrap else 1)
    assert consume(plain, batches, wrap) == consume(ahead, batches, wrap)
    ahead.close()
    assert max(counts) > 3, counts


def test_no_more_bytes_than_a_block_are_fetched_at_a_time(quick, monkeypatch):
    monkeypatch.setattr(Prefetcher, "BLOCK", 12 * 3 * 10 + 1)  # ten minibatches of three rows, of three float32
    f = feed(1000, 3, prefetch=True)
    counts = watched(f)
    consume(f, 200)
    f.close()
    assert max(counts) == 30


def test_rows_that_may_change_are_fetched_one_minibatch_at_a_time(quick):
    f = feed(100, 3, prefetch=True, fixed=False)
    counts = watched(f)
    f.begin(True, 60)
    for _ in range(60):
        f.fetch(3)
    f.close()
    assert max(counts) == 3


def test_slow_sources_are_asked_for_one_minibatch_at_a_time(monkeypatch):
    monkeypatch.setattr(Prefetcher, "QUICK", 0.0)
    f = feed(100, 3, prefetch=True)
    counts = watched(f)
    consume(f, 30)
    f.close()
    assert max(counts) == 3


def test_a_row_that_fails_among_many_is_an_error_of_its_minibatch(quick):
    f = feed(1000, 3, prefetch=True, broken_row=700)
    assert flatten(consume(f, 233)[0]) == list(range(699))
    with pytest.raises(FileError, match="row 700 cannot be read"):
        consume(f, 1)
    f.close()


def test_closing_while_the_thread_is_ahead():
    for batches in (0, 1, 2):
        f = feed(100, 5, prefetch=True)
        consume(f, batches)
        f.close()
        f.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_an_interrupt_while_waiting_loses_no_minibatch():
    f = feed(12, 3, prefetch=True)
    consume(f, 1)

    class Interrupted:
        """Takes a minibatch off the queue, and does not hand it over."""

        def __init__(self, ready):
            self.ready = ready

        def get(self):
            self.ready.get()
            raise KeyboardInterrupt

    f._ahead._ready = Interrupted(f._ahead._ready)
    with pytest.raises(KeyboardInterrupt):
        consume(f, 1)
    assert consume(f, 2)[0] == [[3, 4, 5], [6, 7, 8]]
    f.close()


def test_a_source_without_rows_is_an_error():
    with pytest.raises(DataError, match="Layer 'data': its source has no rows"):
        feed(0, 1)


def test_rows_are_cast_to_the_dtype_of_the_net():
    layer = MemoryLayer(name="data", batch_size=2, arrays=(np.array([1, 2, 3], np.uint8),), tops=("data",))
    f = Feed(layer, layer.open(0), "float64")
    f.begin(True)
    (array,) = f.fetch(2)
    assert array.dtype == np.float64
    assert f.nbytes == 24
    assert f.everything()[0].tolist() == [1, 2, 3]
