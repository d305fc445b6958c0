"""LeNet training in plain NumPy: what Mocha's NumPy backend is measured against.

No framework: im2col through `sliding_window_view`, BLAS through `@`, pooling by slices. Run it to check its
gradients against central differences and to print the time of one training iteration:

    python benchmarks/numpy_lenet.py [--threads 2] [--iterations 50]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[Any]

#: Of each layer: (number of outputs, fan-in, size of the kernel; 0 without one).
SHAPES = {"conv1": (20, 1, 5), "conv2": (50, 20, 5), "ip1": (500, 800, 0), "ip2": (10, 500, 0)}


def parameters(dtype: str, random: np.random.Generator) -> dict[str, Array]:
    """Weights drawn as Mocha's Xavier initializer does, uniform with sqrt(3 / fan_in), and zero biases."""
    found: dict[str, Array] = {}
    for name, (outputs, inputs, kernel) in SHAPES.items():
        shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
        bound = np.sqrt(3 / np.prod(shape[1:]))
        found[f"{name}.w"] = random.uniform(-bound, bound, shape).astype(dtype)
        found[f"{name}.b"] = np.zeros(outputs, dtype)
    return found


def conv_forward(x: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """Outputs, and the columns of shape (n, c * kh * kw, oh * ow) that backward reuses."""
    n, c, _, _ = x.shape
    f, _, kh, kw = w.shape
    windows = sliding_window_view(x, (kh, kw), axis=(2, 3))
    oh, ow = windows.shape[2:4]
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, oh * ow)
    y = w.reshape(f, -1) @ columns
    y += b[:, None]
    return y.reshape(n, f, oh, ow), columns


def conv_backward(
    dy: Array, shape: tuple[int, ...], w: Array, columns: Array, want_dx: bool
) -> tuple[Array | None, Array, Array]:
    n, c, _, _ = shape
    f, _, kh, kw = w.shape
    oh, ow = dy.shape[2:]
    flat = dy.reshape(n, f, oh * ow)
    dw = (flat @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(w.shape)
    db = flat.sum(axis=(0, 2))
    if not want_dx:
        return None, dw, db
    dcolumns = (w.reshape(f, -1).T @ flat).reshape(n, c, kh, kw, oh, ow)
    dx = np.zeros(shape, dy.dtype)
    for i in range(kh):
        for j in range(kw):
            dx[:, :, i : i + oh, j : j + ow] += dcolumns[:, :, i, j]
    return dx, dw, db


def pool_forward(x: Array) -> Array:
    """Maxima of 2 by 2 squares."""
    top = np.maximum(x[:, :, ::2, ::2], x[:, :, ::2, 1::2])
    bottom = np.maximum(x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2])
    return np.maximum(top, bottom)


def pool_backward(dy: Array, x: Array, y: Array) -> Array:
    """The gradient goes to the first maximum of each square."""
    dx = np.empty_like(x)
    free = np.ones(y.shape, bool)
    for i in range(2):
        for j in range(2):
            first = (x[:, :, i::2, j::2] == y) & free
            dx[:, :, i::2, j::2] = dy * first
            free &= ~first
    return dx


def objective(p: dict[str, Array], x: Array, labels: Array) -> tuple[float, dict[str, Array]]:
    """The mean softmax loss of a minibatch and its gradients."""
    n = len(x)
    y1, columns1 = conv_forward(x, p["conv1.w"], p["conv1.b"])
    pool1 = pool_forward(y1)
    y2, columns2 = conv_forward(pool1, p["conv2.w"], p["conv2.b"])
    pool2 = pool_forward(y2)
    flat = pool2.reshape(n, -1)
    hidden = np.maximum(flat @ p["ip1.w"].T + p["ip1.b"], 0)
    scores = hidden @ p["ip2.w"].T + p["ip2.b"]
    scores -= scores.max(axis=1, keepdims=True)
    probabilities = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    loss = -float(np.log(probabilities[np.arange(n), labels]).mean())

    g: dict[str, Array] = {}
    dscores = probabilities.copy()
    dscores[np.arange(n), labels] -= 1
    dscores /= n
    g["ip2.w"], g["ip2.b"] = dscores.T @ hidden, dscores.sum(axis=0)
    dhidden = (dscores @ p["ip2.w"]) * (hidden > 0)
    g["ip1.w"], g["ip1.b"] = dhidden.T @ flat, dhidden.sum(axis=0)
    dpool2 = (dhidden @ p["ip1.w"]).reshape(pool2.shape)
    dy2 = pool_backward(dpool2, y2, pool2)
    dpool1, g["conv2.w"], g["conv2.b"] = conv_backward(dy2, pool1.shape, p["conv2.w"], columns2, True)
    assert dpool1 is not None
    dy1 = pool_backward(dpool1, y1, pool1)
    _, g["conv1.w"], g["conv1.b"] = conv_backward(dy1, x.shape, p["conv1.w"], columns1, False)
    return loss, g


class Training:
    """Parameters and momentum of one run; `step` trains on one minibatch with decay of all parameters."""

    def __init__(self, p: dict[str, Array], rate: float = 0.01, momentum: float = 0.9, decay: float = 5e-4) -> None:
        self.p, self.rate, self.momentum, self.decay = p, rate, momentum, decay
        self.h = {name: np.zeros_like(w) for name, w in p.items()}

    def step(self, x: Array, labels: Array) -> float:
        loss, gradients = objective(self.p, x, labels)
        for name, g in gradients.items():
            w, h = self.p[name], self.h[name]
            h *= self.momentum
            h += self.rate * (g + self.decay * w)
            w -= h
        return loss


def minibatch(random: np.random.Generator, dtype: str, n: int = 64) -> tuple[Array, Array]:
    """Random images in [0, 1) and random labels: the time does not depend on them."""
    return random.random((n, 1, 28, 28)).astype(dtype), random.integers(0, 10, n)


def check_gradients() -> float:
    """The largest relative error of directional derivatives, in float64, against central differences."""
    random = np.random.default_rng(1)
    p = parameters("float64", random)
    x, labels = minibatch(random, "float64", 4)
    _, gradients = objective(p, x, labels)
    worst, step = 0.0, 1e-6
    for name, w in p.items():
        direction = random.standard_normal(w.shape)
        losses = [objective({**p, name: w + sign * step * direction}, x, labels)[0] for sign in (1, -1)]
        expected = (losses[0] - losses[1]) / (2 * step)
        worst = max(worst, abs(float((gradients[name] * direction).sum()) - expected) / abs(expected))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="BLAS threads")
    parser.add_argument("--iterations", type=int, default=50)
    arguments = parser.parse_args()
    error = check_gradients()
    print(f"gradients: largest relative error {error:.1e} against central differences")
    if error > 1e-4:
        raise SystemExit("the gradients are wrong")
    random = np.random.default_rng(1)
    training = Training(parameters("float32", random))
    x, labels = minibatch(random, "float32")
    times = []
    with threadpool_limits(arguments.threads, "blas"):
        for _ in range(arguments.iterations + 5):
            start = time.perf_counter()
            training.step(x, labels)
            times.append(time.perf_counter() - start)
    times = times[5:]
    print(f"{statistics.median(times) * 1e3:.2f} ms an iteration (best {min(times) * 1e3:.2f})")


if __name__ == "__main__":
    main()
