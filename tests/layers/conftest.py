"""Nets of one layer, on a backend that has nothing but NumPy: every kernel is an op's own reference."""

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core.graph.plan import Phase
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.testing.surrounding_layers import InputLayer


@pytest.fixture
def system():
    with mocha.System(ReferenceBackend(), dtype="float64", seed=5) as system:
        yield system


@pytest.fixture
def net_of(system):
    """Builds a net of data (blob names and arrays) and layers."""

    def make(data, *layers, **options):
        rows = len(next(iter(data.values())))
        source = InputLayer(
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
