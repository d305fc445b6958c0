"""Nets of one layer, on a backend that has nothing but NumPy: every kernel is an op's own reference."""

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core.backend import Backend
from mocha_core.layer import DataLayer
from mocha_core.plan import Phase
from mocha_core.source import Source
from mocha_core.value import Spec


class ReferenceBackend(Backend):
    name = "reference"
    xp = np

    def empty(self, shape, dtype):
        return np.zeros(shape, dtype)

    def to_numpy(self, array):
        return np.array(array)

    def copy_from_numpy(self, array, source):
        array[...] = source


class Rows(Source):
    def __init__(self, arrays):
        self.arrays, self.rows = arrays, len(arrays[0])
        self.specs = tuple(Spec(a.shape[1:], "float64") for a in arrays)

    def fetch(self, rows, out):
        for array, target in zip(self.arrays, out):
            target[...] = array[rows]


class Given(DataLayer):
    """Arrays as they are given, one minibatch of all rows."""

    arrays: tuple = ()

    def open(self, seed):
        return Rows(self.arrays)


@pytest.fixture
def system():
    with mocha.System(ReferenceBackend(), dtype="float64", seed=5) as system:
        yield system


@pytest.fixture
def net_of(system):
    """Builds a net of data (blob names and arrays) and layers."""

    def make(data, *layers, **options):
        rows = len(next(iter(data.values())))
        source = Given(
            name="given", tops=list(data), batch_size=rows, arrays=tuple(np.asarray(a, float) for a in data.values())
        )
        return mocha.Net("net", system, [source, *layers], **options)

    return make


@pytest.fixture
def tops_of(net_of):
    """What layers make of data: their tops as arrays, by name."""

    def run(data, *layers, phase=Phase.TRAIN):
        net = net_of(data, *layers)
        net.forward(phase)
        return {top: net.blobs[top].numpy() for layer in layers for top in layer.tops}

    return run
