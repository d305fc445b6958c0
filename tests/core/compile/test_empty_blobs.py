"""No blob is empty; and a blob may hold booleans, also where the namespace is strict."""

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing import OpCase
from mocha_core.testing.backends import StrictBackend
from mocha_core.testing.surrounding_layers import InputLayer

DATA = InputLayer(name="data", tops=("x",), batch_size=2, arrays=(np.ones((2, 3)),))


class Keep(Op):
    """The first columns."""

    name = "toy.keep"
    columns: int

    def infer(self, x):
        return (Spec((x.shape[0], self.columns), x.dtype),)

    def forward(self, xp, x):
        return x[:, : self.columns]


class KeepLayer(Layer):
    columns: int = 0

    def build(self, b, x):
        return b.call(Keep(self.columns), x)


def test_a_top_without_elements_is_refused():
    layer = KeepLayer(name="keep", bottoms=["x"], tops=["y"])
    message = r"KeepLayer\(keep\) in net 'net', bottoms 'x' float32\[2, 3\]: its top 'y' would be float32\[2, 0\]"
    with mocha.System("plain") as system:
        with pytest.raises(ShapeError, match=message):
            mocha.Net("net", system, [DATA, layer])
        mocha.Net("net", system, [DATA, KeepLayer(name="keep", columns=1, bottoms=["x"], tops=["y"])]).forward()


class Positive(Op):
    name = "toy.positive"

    def infer(self, x):
        return (Spec(x.shape, "bool"),)

    def forward(self, xp, x):
        return x > 0


class PositiveLayer(Layer):
    def build(self, b, x):
        return b.call(Positive(), x)


def test_booleans_on_the_strict_namespace():
    assert OpCase(Positive(), [np.ones(2)]).visible == 1
    with mocha.System(StrictBackend()) as system:
        net = mocha.Net("net", system, [DATA, PositiveLayer(name="positive", bottoms=["x"], tops=["y"])])
        net.forward()
        assert net.blobs["y"].numpy().tolist() == [[True] * 3] * 2
