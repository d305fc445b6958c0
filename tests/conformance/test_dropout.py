import numpy as np
from mocha_layers_std.dropout import Dropout

from mocha_core import layers
from mocha_core.graph.plan import Phase
from mocha_core.graph.random import stream_id, uniform
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


def dropped(x, ratio, auto_scale, seed, stream, iteration, first_row):
    """With the mask that the core's random numbers give, element by element."""
    rows, features = len(x), x[0].size
    u = uniform(np, seed, stream, np.int64(iteration), np.int64(first_row), rows, features).reshape(x.shape)
    y = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        if u[place] > ratio:
            y[place] = x[place] / (1 - ratio) if auto_scale else x[place]
    return y


def case(shape, ratio=0.5, auto_scale=True, seed=5, stream=9, iteration=0, first_row=0):
    cells = [np.asarray(iteration, np.int64), np.asarray(first_row, np.int64)]
    return OpCase(Dropout(ratio, auto_scale, seed, stream), [distinct(shape), *cells])


class TestDropout(OpTests):
    cases = {
        "flat": case((4, 6)),
        "images": case((3, 2, 2, 3), 0.6),
        "without scale": case((4, 5), 0.6, auto_scale=False),
        "small ratio": case((4, 5), 0.1),
        "large ratio": case((4, 5), 0.9),
        "later iteration": case((4, 5), iteration=1234567),
        "later rows": case((4, 5), first_row=64),
        "large seed": case((4, 5), seed=2**63 + 11, stream=2**32 - 1),
        "one feature": case((7, 1)),
    }

    def expected(self, op, inputs):
        x, iteration, first_row = inputs
        return [dropped(x, op.ratio, op.auto_scale, op.seed, op.stream, iteration, first_row)]


def test_masks_differ_between_iterations_rows_and_streams():
    masks = [
        TestDropout().expected(c.op, c.arrays("float64"))[0] != 0
        for c in (case((8, 8)), case((8, 8), iteration=1), case((8, 8), first_row=8), case((8, 8), stream=1))
    ]
    assert len({mask.tobytes() for mask in masks}) == len(masks)


class TestDropoutLayer(LayerTests):
    cases = {
        "defaults": (layers.DropoutLayer(bottoms=["x"], tops=["y"]), [(4, 6)]),
        "ratio": (layers.DropoutLayer(ratio=0.6, bottoms=["x"], tops=["y"]), [(3, 2, 2, 2)]),
        "ratio 0": (layers.DropoutLayer(ratio=0, bottoms=["x"], tops=["y"]), [(4, 6)]),
        "without scale": (layers.DropoutLayer(ratio=0.3, auto_scale=False, bottoms=["x"], tops=["y"]), [(4, 6)]),
        "two bottoms": (layers.DropoutLayer(bottoms=["a", "b"], tops=["u", "v"]), [(4, 6), (4, 3)]),
    }

    wrong = {
        f"ratio {ratio}": (lambda ratio=ratio: layers.DropoutLayer(ratio=ratio, bottoms=["x"], tops=["y"]), [], "ratio")
        for ratio in (1.0, -0.5, "half")
    }

    def expected(self, layer, bottoms, parameters, phase):
        if phase is Phase.TEST:
            return bottoms
        return [
            dropped(x, layer.ratio, layer.auto_scale, self.seed, stream_id(layer.name, f"dropout{i}"), 0, 0)
            for i, x in enumerate(bottoms)
        ]
