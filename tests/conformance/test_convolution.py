from itertools import product

import numpy as np
from mocha_layers_std.convolution import Convolution

from mocha_core import layers, neurons
from mocha_core.graph.value import Spec
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


def convolution(x, w, b, kernel, stride, pad, n_group):
    (kw, kh), (sw, sh), (pw, ph) = kernel, stride, pad
    n, channels, height, width = x.shape
    filters = len(w)
    rows, columns = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    y = np.zeros((n, filters, rows, columns))
    per_group, filters_per_group = channels // n_group, filters // n_group
    for s, f, i, j in np.ndindex(y.shape):
        y[s, f, i, j] = b[f]
        for c, u, v in product(range(per_group), range(kh), range(kw)):
            row, column = i * sh + u - ph, j * sw + v - pw
            if 0 <= row < height and 0 <= column < width:
                y[s, f, i, j] += w[f, c, u, v] * x[s, f // filters_per_group * per_group + c, row, column]
    return y


def case(x, filters, kernel, stride=(1, 1), pad=(0, 0), n_group=1):
    w = distinct((filters, x[1] // n_group, kernel[1], kernel[0]), 1)
    return OpCase(Convolution(kernel, stride, pad, n_group), [distinct(x), w, distinct((filters,), 2)])


class TestConvolution(OpTests):
    cases = {
        "plain": case((2, 3, 5, 4), 4, (3, 2)),
        "1x1": case((2, 3, 4, 3), 2, (1, 1)),
        "1x1 and stride": case((2, 3, 5, 4), 2, (1, 1), (3, 2)),
        "stride": case((2, 2, 6, 7), 3, (2, 3), (2, 1)),
        "stride beyond the kernel": case((2, 2, 7, 6), 3, (2, 1), (3, 2)),
        "pad": case((2, 2, 4, 3), 3, (2, 3), pad=(1, 2)),
        "pad as wide as the kernel": case((1, 2, 3, 3), 2, (2, 2), pad=(2, 2)),
        "stride and pad leave a rest": case((2, 2, 6, 6), 2, (3, 3), (2, 2), (1, 1)),
        "groups": case((2, 4, 4, 5), 6, (2, 3), n_group=2),
        "groups of one channel": case((2, 3, 4, 4), 6, (2, 2), n_group=3),
        "groups, stride and pad": case((3, 4, 5, 6), 4, (3, 4), (1, 2), (2, 2), 2),
        "kernel as large as the image": case((3, 2, 3, 4), 3, (4, 3)),
        "one sample": case((1, 3, 5, 5), 2, (3, 3), pad=(1, 1)),
        "many channels": case((2, 20, 4, 4), 3, (3, 3)),
    }

    def expected(self, op, inputs):
        return [convolution(*inputs, op.kernel, op.stride, op.pad, op.n_group)]


def layer(bottoms="x", tops="y", **attributes):
    return layers.ConvolutionLayer(bottoms=bottoms.split(), tops=tops.split(), **attributes)


class TestConvolutionLayer(LayerTests):
    cases = {
        "plain": (layer(n_filter=2, kernel=(2, 3)), [(3, 2, 4, 3)]),
        "stride": (layer(n_filter=2, kernel=(3, 2), stride=(1, 2)), [(2, 2, 5, 4)]),
        "pad": (layer(n_filter=2, kernel=(2, 3), pad=(1, 2)), [(2, 2, 3, 2)]),
        "groups": (layer(n_filter=4, kernel=(2, 2), n_group=2), [(2, 4, 3, 3)]),
        "1x1": (layer(n_filter=3, kernel=1), [(2, 2, 2, 3)]),
        "one integer for both": (layer(n_filter=2, kernel=2, stride=2, pad=1), [(2, 2, 3, 4)]),
        "no regularizer": (layer(n_filter=2, kernel=2, filter_regu=None, bias_regu=None), [(2, 2, 3, 3)]),
        "three bottoms": (layer("a b c", "u v w", n_filter=2, kernel=(2, 2)), [(2, 2, 3, 3)] * 3),
        "bottoms of different sizes": (
            layer("a b", "u v", n_filter=2, kernel=(2, 2), stride=(2, 1)),
            [(2, 2, 4, 3), (2, 2, 3, 5)],
        ),
        "one bottom twice": (layer("a a", "u v", n_filter=2, kernel=(2, 2)), [(2, 2, 3, 3)]),
        "neuron": (layer(n_filter=2, kernel=(2, 2), neuron=neurons.Sigmoid()), [(2, 2, 3, 3)]),
    }

    wrong = {
        "no images": (layer(n_filter=2, kernel=1), [(4, 3)], r"float64\[4, 3\].* 4 axes"),
        "kernel beyond the image": (layer(n_filter=2, kernel=(4, 2)), [(2, 2, 3, 3)], "at least 4x2"),
        "groups that do not divide": (layer(n_filter=4, kernel=1, n_group=2), [(2, 3, 2, 2)], "group"),
        "bottoms of different channels": (
            layer("a b", "u v", n_filter=2, kernel=1),
            [(2, 2, 3, 3), (2, 3, 3, 3)],
            "channels|filter",
        ),
        "no filters": (lambda: layer(n_filter=0, kernel=1), [], "n_filter"),
    }

    def expected(self, layer, bottoms, parameters):
        w, b = parameters["filter"], parameters["bias"]
        named = dict(zip(dict.fromkeys(layer.bottoms), bottoms))
        attributes = (layer.kernel, layer.stride, layer.pad, layer.n_group)
        tops = [convolution(named[name], w, b, *attributes) for name in layer.bottoms]
        return [1 / (1 + np.exp(-top)) for top in tops] if layer.neuron else tops


def test_the_size_in_the_original_tests():
    # Its arrays are (width, height, channels, samples): 16 x 10 x 6 x 24 becomes 18 x 6 x 12 x 24.
    op = Convolution((3, 4), (1, 2), (2, 2), 2)
    image, filters = Spec((24, 6, 10, 16), "float32"), Spec((12, 3, 4, 3), "float32")
    assert op.infer(image, filters, Spec((12,), "float32"))[0].shape == (24, 12, 6, 18)
