"""Philox: the published test vectors, and independence of how a batch is cut."""

import array_api_strict
import numpy as np
import pytest

from mocha_core.graph.random import philox, stream_id, uniform

ONES = 0xFFFFFFFF
#: Random123's known answers for philox4x32-10: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    words = philox(np, tuple(np.asarray([c], np.uint64) for c in counter), key)
    assert [int(w[0]) for w in words] == list(expected)


def draw(rows, features, *, seed=7, stream=3, iteration=5, first_row=0, xp=np):
    numbers = (xp.asarray(n, dtype=xp.int64) for n in (iteration, first_row))
    return np.asarray(uniform(xp, seed, stream, *numbers, rows, features))


def test_rows_do_not_depend_on_how_the_batch_is_cut():
    whole = draw(10, 7)
    parts = [draw(n, 7, first_row=first) for first, n in ((0, 4), (4, 1), (5, 5))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(draw(16, 7)[:10], whole)


def test_features_do_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(draw(3, 9)[:, :5], draw(3, 5))


def test_everything_that_should_matter_does():
    base = draw(4, 8)
    for change in ({"seed": 8}, {"seed": 7 + (1 << 32)}, {"stream": 4}, {"iteration": 6}, {"first_row": 1}):
        assert not np.array_equal(draw(4, 8, **change), base), change


def test_numbers_are_uniform_in_the_half_open_unit_interval():
    numbers = draw(500, 401)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=16, range=(0, 1))[0]
    expected = numbers.size / 16
    assert ((counts - expected) ** 2 / expected).sum() < 45, "chi-square with 15 degrees of freedom, p < 1e-4"
    assert np.all(numbers * 2**24 == np.round(numbers * 2**24))


def test_the_first_number_is_the_first_word():
    words = philox(np, tuple(np.asarray([c], np.uint64) for c in (0, 0, 3, 5)), (7, 0))
    assert draw(1, 4)[0].tolist() == [float(int(w[0]) >> 8) / 2**24 for w in words]


def test_it_runs_on_the_array_api_alone():
    np.testing.assert_array_equal(draw(3, 6, xp=array_api_strict), draw(3, 6))


def test_stream_ids_are_stable_and_apart():
    assert stream_id("drop1", "dropout") == 2899511314
    ids = {stream_id(*names) for names in (("a", "b"), ("ab", ""), ("", "ab"), ("a", "c"), ("b", "a"))}
    assert len(ids) == 5
    assert all(0 <= i < 2**32 for i in ids)
