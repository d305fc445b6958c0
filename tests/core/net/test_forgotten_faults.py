"""A fault that stands in the status when an exception ends the run belongs to a minibatch that comes again."""

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.describe.source import Source
from mocha_core.errors import DataError
from mocha_core.graph.value import Spec


class Unreliable(Source):
    """While `spoilt`, the first minibatch has a label out of range, and the second cannot be read."""

    prefetch = False
    specs = (Spec((4,), "float64"), Spec((), "float64"))
    rows, spoilt = 16, True

    def fetch(self, rows, epoch, out):
        out[0][...] = np.eye(4)[rows % 4]
        out[1][...] = rows % 3
        if self.spoilt and 4 in rows:
            raise OSError("the disk is gone")
        if self.spoilt:
            out[1][0] = 7


@pytest.mark.parametrize("backend", ["cpu", "native"])
def test_it_is_forgotten(backend):
    if backend == "native":
        pytest.importorskip("mocha_native")
    source = Unreliable()

    class UnreliableLayer(layers.MemoryDataLayer):
        def open(self, *_, **__):
            return source

    with mocha.System(backend, seed=2) as system:
        system.backend.resident_bytes = 0
        given = [np.zeros((16, 4)), np.zeros(16)]
        body = [
            UnreliableLayer(name="d", batch_size=4, data=given, tops=["data", "label"]),
            layers.InnerProductLayer(name="y", output_dim=3, bottoms=["data"], tops=["y"]),
            layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
        ]
        net = mocha.Net("net", system, body)
        solver = solvers.SGD(mocha.SolverParameters(lr_policy=0.05, max_iter=4, accumulate=2))
        with pytest.raises(DataError, match="the disk is gone"):
            solver.solve(net)
        source.spoilt = False
        assert net.runs.training_program(solver).status() == 0
        assert np.isfinite(net.forward_epoch())
        solver.solve(net)
        assert solver.state.iteration == 4
