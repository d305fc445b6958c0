"""Losses, statistics and dropout where the rows of a blob are not those of the minibatch."""

import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.describe.layer import Layer
from mocha_core.errors import ShapeError
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing.backends import installed, open_any

CLASSES, STEPS, SAMPLES, BATCH = 5, 3, 5, 2


class FoldLayer(Layer):
    """(N, STEPS * k, ...) as (STEPS * N, k, ...): a sample's rows are side by side."""

    def build(self, b, x):
        return (b.view(x, (STEPS * x.shape[0], x.shape[1] // STEPS, *x.shape[2:])),)


class Join(Op):
    """Rows of a, then rows of b."""

    name = "test.join"
    backward_reads = ()

    def infer(self, a, b):
        return (Spec((a.shape[0] + b.shape[0], *a.shape[1:]), a.dtype),)

    def forward(self, xp, a, b):
        return xp.concat([a, b], axis=0)

    def backward(self, xp, dy, x, y, wanted):
        half = dy[0].shape[0] // 2
        return dy[0][:half, ...], dy[0][half:, ...]


class JoinLayer(Layer):
    def build(self, b, x, y):
        return b.call(Join(), x, y)


class FirstHalf(Op):
    """The first half of the rows."""

    name = "test.first_half"
    backward_reads = ()

    def infer(self, x):
        return (Spec((x.shape[0] // 2, *x.shape[1:]), x.dtype),)

    def forward(self, xp, x):
        return xp.asarray(x[: x.shape[0] // 2, ...], copy=True)

    def backward(self, xp, dy, x, y, wanted):
        return (xp.concat([dy[0], xp.zeros_like(dy[0])], axis=0),)


class FirstHalfLayer(Layer):
    def build(self, b, x):
        return b.call(FirstHalf(), x)


class TimeFirst(Op):
    """(N, N, ...) with its first two axes exchanged."""

    name = "test.time_first"
    backward_reads = ()
    mixes_rows = True

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        return xp.permute_dims(x, (1, 0, *range(2, len(x.shape))))

    def backward(self, xp, dy, x, y, wanted):
        return (self.forward(xp, dy[0]),)


class TimeFirstLayer(Layer):
    def build(self, b, x):
        (mixed,) = b.call(TimeFirst(), x)
        return (b.view(mixed, (x.shape[0] * x.shape[1], *x.shape[2:])),)


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=[name for name in installed() if name != "strict"])
def system(request, dtype):
    backend = request.param
    with mocha.System(open_any(backend), dtype=dtype, seed=2) as system:
        yield system


def data(batch_size, **arrays):
    return layers.MemoryDataLayer(name="given", data=list(arrays.values()), tops=list(arrays), batch_size=batch_size)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def mean_loss(scores, labels):
    scores, labels = scores.reshape(-1, CLASSES), labels.ravel().astype(int)
    return -np.mean(np.log(softmax(scores)[np.arange(len(labels)), labels]))


def folded(name):
    return FoldLayer(name=f"fold {name}", bottoms=[name], tops=[f"{name} rows"])


def heads(loss):
    bottoms = ["x rows", "y rows"]
    return [loss(name="loss", bottoms=bottoms), layers.AccuracyLayer(name="hits", bottoms=bottoms)]


def scores_and_labels(random):
    scores = random.normal(size=(SAMPLES, STEPS * CLASSES))
    return scores, random.integers(0, CLASSES, (SAMPLES, STEPS)).astype(float)


def test_a_view_with_several_rows_for_each_sample(system, random):
    x, y = scores_and_labels(random)
    parts = [data(BATCH, x=x, y=y), folded("x"), folded("y"), *heads(layers.SoftmaxLossLayer)]
    net = mocha.Net("net", system, parts)
    assert net.forward() == pytest.approx(mean_loss(x[:BATCH], y[:BATCH]), rel=1e-5)
    assert net.forward_epoch() == pytest.approx(mean_loss(x, y), rel=1e-5)
    right = x.reshape(-1, CLASSES).argmax(1) == y.ravel()
    assert net.statistics()["hits-accuracy"] == pytest.approx(right.mean())
    assert f"avg over {SAMPLES * STEPS}" in net.show_statistics()[0]


def test_probabilities_and_distances_of_several_rows(system, random):
    x, y = scores_and_labels(random)
    targets = random.normal(size=(SAMPLES, STEPS * CLASSES))
    net = mocha.Net("net", system, [
        data(BATCH, x=x, y=y, z=targets), folded("x"), folded("y"), folded("z"),
        layers.SoftmaxLayer(name="p", bottoms=["x rows"], tops=["p"]),
        layers.MultinomialLogisticLossLayer(name="logistic", bottoms=["p", "y rows"]),
        layers.SquareLossLayer(name="square", bottoms=["x rows", "z rows"], weight=0.5),
    ])  # fmt: skip
    square = np.sum((x - targets) ** 2) / (2 * SAMPLES * STEPS)
    assert net.forward_epoch() == pytest.approx(mean_loss(x, y) + 0.5 * square, rel=1e-5)


def test_gradients_of_several_rows_are_those_of_as_many_samples(system, random):
    x, y = random.normal(size=(4, STEPS * 4)), random.integers(0, CLASSES, (4, STEPS)).astype(float)
    ip = layers.InnerProductLayer(name="ip", output_dim=CLASSES, bottoms=["x rows"], tops=["scores"])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "y rows"])
    many = mocha.Net("many", system, [data(4, x=x, y=y), folded("x"), folded("y"), ip, loss])
    flat = data(4 * STEPS, **{"x rows": x.reshape(-1, 4), "y rows": y.ravel()})
    one = mocha.Net("one", system, [flat, ip, loss])
    gradients = []
    for net in (many, one):
        net.forward()
        net.backward()
        gradients.append(net.gradient("ip", "weight"))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


def joined(x, y):
    return [
        data(BATCH, a=x, b=-x, y=y),
        JoinLayer(name="join", bottoms=["a", "b"], tops=["x rows"]),
        JoinLayer(name="join labels", bottoms=["y", "y"], tops=["y rows"]),
        *heads(layers.SoftmaxLossLayer),
    ]


def test_all_joined_rows_count(system, random):
    x, y = random.normal(size=(4, CLASSES)), random.integers(0, CLASSES, 4).astype(float)
    net = mocha.Net("net", system, joined(x, y))
    expected = mean_loss(np.concatenate([x, -x]), np.concatenate([y, y]))
    assert net.forward_epoch() == pytest.approx(expected, rel=1e-5)
    assert "avg over 8" in net.show_statistics()[0]


def test_joined_rows_of_a_partial_minibatch_are_an_error(system, random):
    x, y = random.normal(size=(SAMPLES, CLASSES)), random.integers(0, CLASSES, SAMPLES).astype(float)
    net = mocha.Net("net", system, joined(x, y))
    net.forward()
    with pytest.raises(ShapeError, match=r"Net 'net', test batch 2: layer 'loss' counts rows .* only 1 .*batch_size"):
        net.forward_epoch()
    assert net.predict(x, "a").shape == x.shape


@pytest.mark.parametrize("samples", [8, 6])
def test_a_slice_of_the_rows(system, random, samples):
    """The first half of each minibatch of four counts; which rows of a partial one would, is not known."""
    x, y = random.normal(size=(samples, CLASSES)), random.integers(0, CLASSES, samples).astype(float)
    net = mocha.Net("net", system, [
        data(4, x=x, y=y),
        FirstHalfLayer(name="scores", bottoms=["x"], tops=["x rows"]),
        FirstHalfLayer(name="labels", bottoms=["y"], tops=["y rows"]),
        *heads(layers.SoftmaxLossLayer),
    ])  # fmt: skip
    counted = [0, 1, 4, 5]
    if samples % 4 == 0:
        assert net.forward_epoch() == pytest.approx(mean_loss(x[counted], y[counted]), rel=1e-5)
        assert "avg over 4" in net.show_statistics()[0]
    else:
        with pytest.raises(ShapeError, match=r"layer '(loss|hits)' counts rows"):
            net.forward_epoch()


@pytest.mark.parametrize("samples", [6, 7])
def test_time_before_samples(system, random, samples):
    x, y = random.normal(size=(samples, 3, CLASSES)), random.integers(0, CLASSES, (samples, 3)).astype(float)
    net = mocha.Net("net", system, [
        data(3, x=x, y=y),
        TimeFirstLayer(name="scores", bottoms=["x"], tops=["x rows"]),
        TimeFirstLayer(name="labels", bottoms=["y"], tops=["y rows"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["x rows", "y rows"]),
    ])  # fmt: skip
    if samples % 3 == 0:
        assert net.forward_epoch() == pytest.approx(mean_loss(x, y), rel=1e-5)
    else:
        with pytest.raises(ShapeError, match="layer 'loss' counts rows of a blob in which the samples lie mixed"):
            net.forward_epoch()


def test_a_label_out_of_range_is_found_in_the_last_row_that_counts(system, random):
    x, y = scores_and_labels(random)
    y[SAMPLES - 1, STEPS - 1] = CLASSES
    parts = [data(BATCH, x=x, y=y), folded("x"), folded("y"), *heads(layers.SoftmaxLossLayer)]
    net = mocha.Net("net", system, parts)
    with pytest.raises(mocha.MochaError, match=rf"label {CLASSES} in row {STEPS - 1} of the minibatch"):
        net.forward_epoch()


def test_accumulated_minibatches_drop_what_one_large_minibatch_drops(system, random):
    x, y = random.normal(size=(4, STEPS * 4)), random.integers(0, CLASSES, (4, STEPS)).astype(float)
    start, learned = random.normal(size=(CLASSES, 4)), []
    for batch in (4, 2):
        net = mocha.Net("net", system, [
            data(batch, x=x, y=y), folded("x"), folded("y"),
            layers.InnerProductLayer(name="ip", output_dim=CLASSES, bottoms=["x rows"], tops=["scores"]),
            layers.DropoutLayer(name="drop", bottoms=["scores"], tops=["scores"]),
            layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "y rows"]),
        ])  # fmt: skip
        net.parameters["ip"]["weight"].set(start)
        parameters = mocha.SolverParameters(max_iter=1, lr_policy=0.5, accumulate=4 // batch)
        solvers.SGD(parameters).solve(net)
        learned.append(net.parameters["ip"]["weight"].numpy())
    np.testing.assert_allclose(*learned, rtol=1e-4, atol=1e-6)
