"""Blobs in lanes: what C packs and unpacks is what NumPy does, whatever is left over at the ends."""

import gc
import weakref

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from mocha_native.channels_last import packed_filters
from mocha_native.layout import Lanes, convert

from mocha_core.compile.layout import PLAIN, Convert
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Value

SHAPES = [(1, 1), (3, 2, 5), (4, 3), (8, 127), (16, 3, 7, 7), (17, 2, 8, 16), (33, 129), (100, 1, 300)]


def converted(backend, source, target, array, into, gradient, add):
    x, y = (Value(name, (array if source is PLAIN else into).shape, str(array.dtype)) for name in "xy")
    convert(backend, Call(Convert(source, target, gradient), (x,), (y,))).forward([array], [into], [add])()
    return into


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_to_lanes_and_back(isa, dtype, shape):
    plain = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for threads in (1, 2, 3):
        backend = NativeBackend(threads=threads)
        lanes = backend.lanes[dtype]
        for gradient in (False, True):
            for add in (False, True):
                found, wanted = (np.ones(lanes.physical(Value("", shape, dtype).spec).shape, dtype) for _ in range(2))
                lanes.pack(backend, plain, wanted, gradient=gradient, add=add)
                converted(backend, PLAIN, lanes, plain, found, gradient, add)
                assert found.tobytes() == wanted.tobytes()
        for add in (False, True):
            found = converted(backend, lanes, PLAIN, wanted, np.ones(shape, dtype), False, add)
            assert found.tobytes() == (plain + 1 + add).astype(dtype).tobytes()


def test_padding_is_the_last_row_and_in_gradients_zero():
    backend, lanes = NativeBackend(threads=1), Lanes(4)
    plain = np.arange(10.0).reshape(5, 2)
    packed = np.empty(lanes.physical(Value("", (5, 2), "float64").spec).shape)
    lanes.pack(backend, plain, packed, gradient=False, add=False)
    assert packed.shape == (2, 2, 4)
    np.testing.assert_array_equal(packed[1, :, 1:], [[8] * 3, [9] * 3])
    lanes.pack(backend, plain, packed, gradient=True, add=False)
    np.testing.assert_array_equal(packed[1, :, 1:], 0)


def test_a_layout_lives_as_long_as_it_is_used():
    """Programs compare layouts by identity, and a process may build nets of any number of shapes."""
    one, other = packed_filters(16, 32, 1, False), packed_filters(16, 32, 1, False)
    assert one is other
    assert one is not packed_filters(16, 32, 2, False)
    gone = weakref.ref(one)
    del one, other
    gc.collect()
    assert gone() is None
