from itertools import product

import numpy as np
import pytest
from mocha_layers_std.pooling import MaxPooling, MeanPooling

from mocha_core import layers
from mocha_core.graph.value import Spec
from mocha_core.testing import LayerTests, OpCase, OpTests
from mocha_core.testing.inputs import distinct


def windows(size, kernel, stride, front, end):
    """The elements in each pooling window, and how many it has with padding, from Caffe's rules."""
    count = int(np.ceil((size + front + end - kernel) / stride)) + 1
    if (count - 1) * stride >= size + front:
        count -= 1
    for start in range(-front, -front + count * stride, stride):
        stop = min(start + kernel, size + end)
        yield range(max(start, 0), min(stop, size)), stop - start


def pooling(x, kernel, stride, pad, maximum):
    n, channels, height, width = x.shape
    down = list(windows(height, kernel[1], stride[1], pad[1], pad[1]))
    across = list(windows(width, kernel[0], stride[0], pad[0], pad[0]))
    y = np.zeros((n, channels, len(down), len(across)))
    index = np.zeros(y.shape, np.int32)
    for s, c, i, j in np.ndindex(y.shape):
        (rows, tall), (columns, wide) = down[i], across[j]
        places = list(product(rows, columns))
        values = [x[s, c, row, column] for row, column in places]
        if maximum:
            y[s, c, i, j] = max(values)
            row, column = places[values.index(max(values))]
            index[s, c, i, j] = row * width + column
        else:
            y[s, c, i, j] = sum(values) / (tall * wide)
    return y, index


GEOMETRIES = {
    "tiles": ((2, 2, 4, 6), (3, 2), (3, 2), (0, 0)),
    "overlapping": ((2, 2, 4, 5), (3, 2), (1, 1), (0, 0)),
    "beyond the border": ((2, 1, 5, 6), (3, 2), (2, 2), (0, 0)),
    "stride beyond the kernel": ((2, 1, 7, 6), (2, 1), (3, 3), (0, 0)),
    "padded": ((2, 1, 4, 5), (3, 2), (2, 1), (1, 1)),
    "padded, clipped": ((1, 2, 5, 5), (2, 2), (2, 2), (1, 1)),
    "padded on one axis": ((2, 1, 4, 4), (2, 3), (1, 2), (0, 2)),
    "1x1": ((2, 2, 3, 2), (1, 1), (1, 1), (0, 0)),
    "whole image": ((3, 2, 3, 4), (4, 3), (1, 1), (0, 0)),
    "one sample": ((1, 1, 6, 6), (3, 3), (2, 2), (0, 0)),
    "many channels": ((2, 20, 4, 4), (2, 2), (2, 2), (0, 0)),
}


def cases(kind):
    return {
        name: OpCase(kind(kernel, stride, pad, *shape[2:]), [distinct(shape)])
        for name, (shape, kernel, stride, pad) in GEOMETRIES.items()
    }


class TestMaxPooling(OpTests):
    cases = cases(MaxPooling)

    def expected(self, op, inputs):
        return pooling(inputs[0], op.kernel, op.stride, op.pad, maximum=True)


class TestMaxPoolingOfNegativeNumbers(OpTests):
    """Padding is not zero: it never wins."""

    op = MaxPooling((3, 3), (2, 2), (1, 1), 4, 4)
    inputs = (distinct((2, 2, 4, 4), low=-3.0, high=-1.0),)

    def expected(self, op, inputs):
        return pooling(inputs[0], op.kernel, op.stride, op.pad, maximum=True)


class TestMeanPooling(OpTests):
    cases = cases(MeanPooling)

    def expected(self, op, inputs):
        return pooling(inputs[0], op.kernel, op.stride, op.pad, maximum=False)[:1]


def layer(kind, bottoms="x", tops="y", **attributes):
    return layers.PoolingLayer(pooling=kind, bottoms=bottoms.split(), tops=tops.split(), **attributes)


class TestPoolingLayer(LayerTests):
    cases = {
        f"{kind}, {name}": (layer(kind, **attributes), [shape])
        for kind in (layers.Pooling.Max, layers.Pooling.Mean)
        for name, attributes, shape in [
            ("tiles", {"kernel": (2, 3), "stride": (2, 3)}, (2, 1, 6, 4)),
            ("beyond the border", {"kernel": (3, 2), "stride": (2, 2)}, (2, 1, 3, 6)),
            ("larger than the image", {"kernel": 5}, (2, 2, 3, 4)),
            ("larger than the padded image", {"kernel": (3, 9), "stride": (2, 4), "pad": (1, 2)}, (2, 1, 3, 5)),
            ("padded", {"kernel": (3, 2), "stride": (2, 1), "pad": (1, 1)}, (2, 1, 3, 4)),
        ]
    } | {
        "two bottoms": (
            layer(layers.Pooling.Max, "a b", "u v", kernel=(2, 2), stride=(1, 2)),
            [(2, 1, 3, 3), (2, 2, 2, 4)],
        )
    }

    wrong = {
        "no images": (layer("max", kernel=2), [(4, 3)], r"bottoms 'x' float64\[4, 3\]: expected a blob with 4 axes"),
        "no kernel": (lambda: layer("max"), [], "it needs kernel"),
        "kind": (lambda: layer("median", kernel=2), [], "received 'median'"),
        "more tops": (lambda: layer("max", "x", "y z", kernel=2), [], "as many tops"),
    }

    def expected(self, layer, bottoms, parameters):
        maximum = layer.pooling is layers.Pooling.Max
        (width, height), (pw, ph) = layer.kernel, layer.pad

        def clipped(x):
            return min(width, x.shape[3] + 2 * pw), min(height, x.shape[2] + 2 * ph)

        return [pooling(x, clipped(x), layer.stride, layer.pad, maximum)[0] for x in bottoms]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [
        (7, 3, 2, 1, 4), (6, 3, 2, 1, 4), (5, 2, 2, 0, 3), (5, 2, 2, 1, 3), (6, 2, 2, 1, 4), (4, 2, 3, 1, 2),
        (32, 3, 2, 0, 16), (55, 3, 2, 0, 27), (13, 3, 2, 0, 6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [MaxPooling, MeanPooling])
def test_sizes_in_the_reference(kind, size, kernel, stride, pad, expected):
    op = kind((kernel, 1), (stride, 1), (pad, 0), 1, size)
    assert op.infer(Spec((1, 1, 1, size), "float32"))[0].shape == (1, 1, 1, expected)
    assert len(list(windows(size, kernel, stride, pad, pad))) == expected


def test_the_first_of_equal_elements_wins():
    _, index = MaxPooling((2, 2), (2, 2), (0, 0), 2, 4).forward(np, np.ones((1, 1, 2, 4)))
    assert index.ravel().tolist() == [0, 2]
