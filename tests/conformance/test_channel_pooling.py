import numpy as np
from mocha_layers_std.channel_pooling import MaxChannelPooling, MeanChannelPooling

from mocha_core import layers
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


def channel_pooling(x, kernel, stride, pad, maximum):
    groups = [channels for channels, _ in windows(x.shape[1], kernel, stride, *pad)]
    if maximum:
        y = [x[:, list(channels)].max(axis=1) for channels in groups]
        index = [x[:, list(channels)].argmax(axis=1) + channels[0] for channels in groups]
        return np.stack(y, axis=1), np.stack(index, axis=1).astype(np.int32)
    return (np.stack([x[:, list(channels)].sum(axis=1) / kernel for channels in groups], axis=1),)


GEOMETRIES = {
    "plain": ((2, 5, 2, 3), 2, 1, (0, 0)),
    "tiles": ((2, 6, 3), 3, 3, (0, 0)),
    "beyond the end": ((3, 6, 2), 3, 2, (0, 0)),
    "padded": ((2, 5, 2, 2), 3, 2, (2, 2)),
    "padded in front": ((2, 4, 3), 2, 1, (1, 0)),
    "padded at the end": ((2, 4, 3), 3, 2, (0, 2)),
    "stride beyond the kernel": ((2, 7, 2), 2, 3, (0, 0)),
    "two axes": ((4, 6), 3, 2, (1, 1)),
    "five axes": ((2, 4, 2, 1, 2), 2, 2, (0, 0)),
    "kernel 1": ((3, 4, 2), 1, 1, (0, 0)),
}


def cases(kind):
    return {
        name: OpCase(kind(kernel, stride, pad, shape[1]), [distinct(shape)])
        for name, (shape, kernel, stride, pad) in GEOMETRIES.items()
    }


class TestMaxChannelPooling(OpTests):
    cases = cases(MaxChannelPooling)

    def expected(self, op, inputs):
        return channel_pooling(inputs[0], op.kernel, op.stride, op.pad, maximum=True)


class TestMeanChannelPooling(OpTests):
    cases = cases(MeanChannelPooling)

    def expected(self, op, inputs):
        return channel_pooling(inputs[0], op.kernel, op.stride, op.pad, maximum=False)


class TestChannelPoolingLayer(LayerTests):
    cases = {
        f"{kind}, {name}": (
            layers.ChannelPoolingLayer(pooling=kind, kernel=kernel, stride=stride, pad=pad, bottoms=["x"], tops=["y"]),
            [shape],
        )
        for kind in (layers.Pooling.Max, layers.Pooling.Mean)
        for name, (shape, kernel, stride, pad) in list(GEOMETRIES.items())[:4]
    } | {
        "two bottoms": (
            layers.ChannelPoolingLayer(kernel=2, stride=2, bottoms=["a", "b"], tops=["u", "v"]),
            [(3, 4, 2), (3, 5)],
        ),
        "one window beyond the channels": (
            layers.ChannelPoolingLayer(kernel=9, pad=(1, 0), bottoms=["x"], tops=["y"]), [(2, 3, 2)],
        ),
        "the mean of a window beyond the channels": (
            layers.ChannelPoolingLayer(kernel=4, pad=1, stride=2, pooling="mean", bottoms=["x"], tops=["y"]), [(2, 3)],
        ),
        "more than all channels": (
            layers.ChannelPoolingLayer(kernel=8, pooling="mean", bottoms=["x"], tops=["y"]), [(2, 3, 2)],
        ),
    }  # fmt: skip

    wrong = {
        "one axis": (layers.ChannelPoolingLayer(kernel=1, bottoms=["x"], tops=["y"]), [(4,)], "2 axes"),
        "padding as large as the kernel": (
            layers.ChannelPoolingLayer(kernel=2, pad=2, bottoms=["x"], tops=["y"]), [(2, 3)], "received kernel 2",
        ),
    }  # fmt: skip

    def expected(self, layer, bottoms, parameters):
        maximum = layer.pooling is layers.Pooling.Max
        front, end = layer.pad
        ends = [max(end, layer.kernel - x.shape[1] - front) for x in bottoms]
        return [
            channel_pooling(x, layer.kernel, layer.stride, (front, end), maximum)[0]
            for x, end in zip(bottoms, ends, strict=True)
        ]
