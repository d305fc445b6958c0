"""The nets in JAX: one jitted function for an iteration, which gets its parameters and velocities back as buffers.

The next iteration is given to JAX while one runs, as users do; the last one is waited for.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from harness.nets import LRN, Add, Conv, Dense, Layer, Net, Pool
from harness.workloads import LEARNING_RATE, MINIBATCHES, MOMENTUM, WEIGHT_DECAY, Workload

Shape = tuple[int, ...]
Weights = dict[str, tuple[jax.Array, jax.Array]]


def scores(net: Net, weights: Weights, x: jax.Array) -> jax.Array:
    kept = {}
    for layer, (inner, outer) in zip(net.layers, net.shapes()):
        x = kept.get(getattr(layer, "bottom", ""), x)
        x = apply_layer(layer, inner, outer, weights, x, kept)
        if getattr(layer, "relu", False):
            x = jax.nn.relu(x)
        kept[layer.name] = x
    return x


def apply_layer(layer: Layer, inner: Shape, outer: Shape, weights: Weights, x: jax.Array, kept: dict) -> jax.Array:
    """`inner` and `outer` are the shapes that it reads and writes, without the batch."""
    match layer:
        case Conv():
            w, b = weights[layer.name]
            pads = [(pad, pad) for pad in layer.pads]
            groups = {"feature_group_count": layer.groups}
            return lax.conv_general_dilated(x, w, layer.strides, pads, **groups) + b[:, None, None]
        case Dense():
            w, b = weights[layer.name]
            return x.reshape(len(x), -1) @ w.T + b
        case Pool(kind="max"):
            return windows(layer, layer.over(inner, outer), lax.max, -jnp.inf, x)
        case Pool():
            over, ones = layer.over(inner, outer), jnp.ones((1, 1, *x.shape[2:]))
            total, inside = (windows(layer, over, lax.add, 0.0, v) for v in (x, ones))
            return total / inside
        case LRN():
            window = (1, 1, layer.kernel, layer.kernel)
            total = lax.reduce_window(x * x, 0.0, lax.add, window, (1, 1, 1, 1), "SAME")
            return x * (1 + layer.scale / layer.kernel**2 * total) ** -layer.power
        case Add():
            return x + kept[layer.other]


def windows(pool: Pool, over: Shape, operation: Any, start: float, x: jax.Array) -> jax.Array:
    pad = [(0, 0), (0, 0), *((0, n) for n in over)]
    window, strides = (1, 1, *pool.window), (1, 1, *pool.strides)
    return lax.reduce_window(x, start, operation, window, strides, pad)


def objective(net: Net, weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    logs = jax.nn.log_softmax(scores(net, weights, x))
    return -jnp.take_along_axis(logs, y[:, None], 1).mean()


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def iteration(net: Net, weights: Weights, velocity: Weights, x: jax.Array, y: jax.Array) -> tuple:
    loss, gradient = jax.value_and_grad(partial(objective, net))(weights, x, y)
    velocity = jax.tree.map(lambda v, g, w: MOMENTUM * v + g + WEIGHT_DECAY * w, velocity, gradient, weights)
    return jax.tree.map(lambda w, v: w - LEARNING_RATE * v, weights, velocity), velocity, loss


class Training:
    def __init__(self, workload: Workload, minibatches: list[tuple[jax.Array, jax.Array]]) -> None:
        self.net, self.minibatches = workload.net, minibatches
        self.weights = jax.tree.map(jnp.array, workload.net.weights())
        self.velocity = jax.tree.map(jnp.zeros_like, self.weights)
        self.done = 0

    def iterate(self) -> jax.Array:
        x, y = self.minibatches[self.done % MINIBATCHES]
        self.done += 1
        self.weights, self.velocity, loss = iteration(self.net, self.weights, self.velocity, x, y)
        return loss

    def run(self, n: int) -> None:
        for _ in range(n):
            loss = self.iterate()
        loss.block_until_ready()
        jax.block_until_ready(self.weights)

    def check(self, n: int) -> list[float]:
        return [float(self.iterate()) for _ in range(n)]


class Inference:
    def __init__(self, workload: Workload, minibatches: list[tuple[jax.Array, jax.Array]]) -> None:
        self.weights = jax.tree.map(jnp.array, workload.net.weights())
        self.minibatches = minibatches
        self.scores = jax.jit(partial(scores, workload.net))

    def run(self, n: int) -> None:
        for i in range(n):
            np.asarray(self.scores(self.weights, self.minibatches[i % MINIBATCHES][0]))

    def check(self, n: int) -> list[float]:
        return np.asarray(self.scores(self.weights, self.minibatches[0][0]))[:n].ravel().tolist()


def make(variant: str, workload: Workload, threads: int) -> Training | Inference:
    """`threads` comes from the CPUs that the process may use: JAX has no other way."""
    images, labels = workload.net.minibatches(workload.batch, MINIBATCHES)
    pairs = zip(np.split(images, MINIBATCHES), np.split(labels, MINIBATCHES))
    minibatches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in pairs]
    return Training(workload, minibatches) if workload.training else Inference(workload, minibatches)
