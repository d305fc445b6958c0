import numpy as np
from mocha_layers_std.lrn import LRNAcrossChannel, LRNWithinChannel

from mocha_core import layers
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


def lrn(x, kernel, scale, shift, power, across):
    front = (kernel - 1) // 2
    around = range(-front, kernel - front)
    offsets = [(k, 0, 0) for k in around] if across else [(0, k, m) for k in around for m in around]
    y = np.zeros(x.shape)
    for s, *place in np.ndindex(x.shape):
        total = 0.0
        for offset in offsets:
            where = tuple(p + o for p, o in zip(place, offset))
            if all(0 <= p < size for p, size in zip(where, x.shape[1:])):
                total += x[(s, *where)] ** 2
        y[(s, *place)] = x[(s, *place)] * (shift + scale / len(offsets) * total) ** -power
    return y


#: kernel, scale, shift, power
ATTRIBUTES = {
    "defaults": (5, 1.0, 1.0, 0.75),
    "kernel 3": (3, 1.0, 1.0, 0.75),
    "even kernel": (4, 0.7, 1.5, 0.75),
    "kernel 1": (1, 2.0, 1.0, 0.5),
    "scale": (3, 0.1, 1.0, 0.75),
    "shift": (3, 1.0, 2.5, 0.75),
    "power 0.5": (3, 1.0, 1.0, 0.5),
    "power 1": (3, 1.0, 1.0, 1.0),
    "power 0.6": (3, 0.5, 2.0, 0.6),
    "power 0": (3, 1.0, 1.0, 0.0),
    "negative power": (3, 1.0, 1.0, -1.0),
}


class TestLRNAcrossChannel(OpTests):
    cases = {
        name: OpCase(LRNAcrossChannel(*attributes), [distinct((2, 6, 2, 2), high=2.0)])
        for name, attributes in ATTRIBUTES.items()
    } | {"fewer channels than the kernel": OpCase(LRNAcrossChannel(5, 1.0, 1.0, 0.75), [distinct((2, 2, 3, 1))])}

    def expected(self, op, inputs):
        return [lrn(inputs[0], op.kernel, op.scale, op.shift, op.power, across=True)]


class TestLRNWithinChannel(OpTests):
    cases = {
        name: OpCase(LRNWithinChannel(*attributes), [distinct((2, 2, 4, 3), high=2.0)])
        for name, attributes in ATTRIBUTES.items()
    } | {"images smaller than the kernel": OpCase(LRNWithinChannel(5, 1.0, 1.0, 0.75), [distinct((2, 2, 2, 1))])}

    def expected(self, op, inputs):
        return [lrn(inputs[0], op.kernel, op.scale, op.shift, op.power, across=False)]


class TestLRNLayer(LayerTests):
    cases = {
        f"{mode}, {name}": (layers.LRNLayer(mode=mode, bottoms=["x"], tops=["y"], **attributes), [(2, 4, 3, 2)])
        for mode in (layers.LRNMode.AcrossChannel, layers.LRNMode.WithinChannel)
        for name, attributes in {
            "defaults": {},
            "all": {"kernel": 3, "scale": 0.4, "shift": 2.0, "power": 0.6},
            "even kernel": {"kernel": 2},
        }.items()
    }

    wrong = {
        "no images": (layers.LRNLayer(bottoms=["x"], tops=["y"]), [(4, 3)], "4 axes"),
        "mode": (lambda: layers.LRNLayer(mode="diagonal", bottoms=["x"], tops=["y"]), [], "'diagonal'"),
    }

    def expected(self, layer, bottoms, parameters):
        across = layer.mode is layers.LRNMode.AcrossChannel
        return [lrn(bottoms[0], layer.kernel, layer.scale, layer.shift, layer.power, across)]
