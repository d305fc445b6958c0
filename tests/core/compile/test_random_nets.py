"""Random nets, trained with random options, are the same on every backend, with and without fusion."""

from math import prod

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.convolution import ConvolutionLayer
from toys.dropout import DropoutLayer
from toys.half import HalfLayer
from toys.inner_product import InnerProductLayer
from toys.observe import assert_equal, contents, parameters
from toys.plugin import Folding
from toys.pooling import PoolingLayer
from toys.product import SquareLayer
from toys.relu import ReluLayer, ReluNeuron
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer
from toys.standardize import StandardizeLayer

import mocha_core as mocha

SAME_SHAPE = [ReluLayer, HalfLayer, StandardizeLayer, DropoutLayer, SquareLayer]


class Maker:
    """Adds random layers over random blobs, half of them over the newest one."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.shapes = {"data": (2, 8, 8)}
        self.layers = []

    def chance(self, p):
        return bool(self.random.random() < p)

    def pick(self, among):
        names = list(among)
        return names[-1] if self.chance(0.5) else names[self.random.integers(len(names))]

    def add(self, kind, bottom, shape, top="", **options):
        top = top or f"b{len(self.layers)}"
        self.layers.append(kind(name=f"l{len(self.layers)}", bottoms=[bottom], tops=[top], **options))
        self.shapes[top] = shape
        return top

    def step(self):
        bottom = self.pick(self.shapes)
        shape = self.shapes[bottom]
        neuron = ReluNeuron() if self.chance(0.3) else None
        choice = self.random.integers(4) if len(shape) == 3 else 2 + self.random.integers(2)
        if choice == 0:
            k = 3 if shape[1] >= 4 and self.chance(0.6) else 1
            options = {"n_filter": 3, "kernel": k, "neuron": neuron}
            self.add(ConvolutionLayer, bottom, (3, shape[1] - k + 1, shape[2] - k + 1), **options)
        elif choice == 1 and shape[1] % 2 == 0:
            self.add(PoolingLayer, bottom, (shape[0], shape[1] // 2, shape[2] // 2), neuron=neuron)
        elif choice == 2:
            self.dense(bottom, 4, neuron=neuron)
        else:
            kind = SAME_SHAPE[self.random.integers(len(SAME_SHAPE))]
            in_place = bottom != "data" and self.chance(0.4)
            self.add(kind, bottom, shape, top=bottom if in_place else "")

    def dense(self, bottom, dim, **options):
        features = prod(self.shapes[bottom])
        key = f"tied {features} {dim}" if self.chance(0.3) else ""
        return self.add(
            InnerProductLayer, bottom, (dim,), output_dim=dim, param_key=key, flatten=self.chance(0.3), **options
        )

    def net(self):
        for _ in range(int(self.random.integers(3, 10))):
            self.step()
        heads = [self.dense(self.pick(self.shapes), 3) for _ in range(2)]
        return [
            nets.data(int(self.random.integers(1, 9)), shuffle=self.chance(0.5)),
            *self.layers,
            SoftmaxLossLayer(name="one", bottoms=[heads[0], "label"]),
            SquareLossLayer(name="two", weight=0.3, bottoms=[heads[1], "target"]),
        ]


def run(backend, seed):
    """Everything that a random training, validation and prediction leave behind."""
    maker = Maker(seed)
    layers, random = maker.net(), maker.random
    trainable = [layer.name for layer in layers if hasattr(layer, "param_key")]
    with mocha.System(backend, dtype="float64", seed=seed) as system:
        net = mocha.Net("net", system, layers)
        if len(trainable) > 2 and maker.chance(0.3):
            net.freeze(trainable[random.integers(len(trainable) - 2)])
        accumulate = 2 if maker.chance(0.2) else 1
        SGD(parameters(max_iter=3, lr_policy=1e-4, accumulate=accumulate)).solve(net)
        seen = {f"trained {key}": array for key, array in contents(net).items()}
        seen["validated"] = np.asarray(net.forward_epoch())
        seen["forward"] = np.asarray(net.forward())
        net.backward()
        seen |= {f"blob {name}": blob.numpy() for name, blob in net.blobs.items()}
        for layer, group in net.parameters.items():
            learned = {name for name, p in group.items() if p.value in net.program().plan.gradients}
            seen |= {f"d {layer}.{name}": net.gradient(layer, name) for name in learned}
        for output in (maker.pick(maker.shapes), layers[-1].bottoms[0]):
            seen[f"predicted {output}"] = net.predict(nets.rows(7)[0], output, batch_size=int(random.integers(1, 8)))
        return seen


@pytest.mark.parametrize("first", range(0, 60, 15))
@pytest.mark.parametrize("name", ["plain, poisoned", "blocked, poisoned", "deferred"])
def test_random_nets_agree(name, first, register):
    register(Folding(), "mocha-folding")
    for seed in range(first, first + 15):
        expected = run(BACKENDS["plain"](), seed)
        seen = run(BACKENDS[name](), seed)
        assert all(np.isfinite(array).all() for array in expected.values())
        scaled = {key: np.abs(array).max() + 1 for key, array in expected.items()}
        assert_equal(
            {key: array / scaled[key] for key, array in seen.items()},
            {key: array / scaled[key] for key, array in expected.items()},
        )
