"""The two losses on class labels, and what they have in common."""

import numpy as np
import pytest
from mocha_layers_std import MultinomialLogisticLossLayer, SoftmaxLayer, SoftmaxLossLayer
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.softmax_loss import SoftmaxLoss

from mocha_core.errors import ConfigurationError, DataError, ShapeError


def softmax(scores):
    return np.exp(scores) / np.sum(np.exp(scores))


def loop_loss(prediction, labels, rows, probabilities_of):
    """Mean of -log p at the label, over the labels of the first rows."""
    n, _, *positions = prediction.shape
    labels = labels.reshape(n, *positions)
    terms = [
        -np.log(max(probabilities_of(prediction[(row, slice(None), *at)])[labels[(row, *at)]], 1e-20))
        for row in range(rows)
        for at in np.ndindex(*positions)
    ]
    return sum(terms) / len(terms)


def operands(random, shape, rows):
    labels = random.integers(0, shape[1], (shape[0], 1, *shape[2:])).astype(np.int32)
    return labels, np.array(rows, np.int32), np.array(0, np.int32)


@pytest.mark.parametrize(("shape", "rows"), [((4, 3), 4), ((4, 3), 1), ((3, 5, 2, 4), 2), ((2, 2, 3), 2)])
def test_softmax_loss(shape, rows):
    random = np.random.default_rng(1)
    scores = 2 * random.normal(size=shape)
    labels, valid_rows, status = operands(random, shape, rows)
    loss, probability, new_status = SoftmaxLoss(1).forward(np, scores, labels, valid_rows, status)
    np.testing.assert_allclose(loss, loop_loss(scores, labels, rows, softmax), rtol=1e-12)
    assert new_status == 0

    one_hot = np.zeros(shape)
    np.put_along_axis(one_hot, labels.reshape(shape[0], 1, *shape[2:]), 1.0, axis=1)
    expected = 1.5 * (probability - one_hot) / (rows * np.prod(shape[2:]))
    expected[rows:] = 0
    x, y = [None, labels, valid_rows, None], [None, probability, None]
    (gradient, *_) = SoftmaxLoss(1).backward(np, [np.array(1.5), None, None], x, y, [True, False, False, False])
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("shape", "rows"), [((4, 3), 4), ((4, 3), 1), ((3, 5, 2, 4), 2)])
def test_multinomial_logistic_loss(shape, rows):
    random = np.random.default_rng(2)
    probability = random.uniform(0.1, 1, shape)
    labels, valid_rows, status = operands(random, shape, rows)
    op = MultinomialLogisticLoss(1)
    loss, _ = op.forward(np, probability, labels, valid_rows, status)
    np.testing.assert_allclose(loss, loop_loss(probability, labels, rows, lambda p: p), rtol=1e-12)

    expected = np.zeros(shape)
    for row in range(rows):
        for at in np.ndindex(*shape[2:]):
            place = (row, labels[(row, 0, *at)], *at)
            expected[place] = -1 / (rows * np.prod(shape[2:]) * probability[place])
    x = [probability, labels, valid_rows, None]
    (gradient, *_) = op.backward(np, [np.array(1.0), None], x, [None, None], [True, False, False, False])
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_impossible_labels_stay_finite():
    labels, rows = np.array([0], np.int32), np.array(1, np.int32)
    status = np.array(0, np.int32)
    loss, _ = MultinomialLogisticLoss(1).forward(np, np.array([[0.0, 1.0]]), labels, rows, status)
    np.testing.assert_allclose(loss, -np.log(1e-20))
    loss, *_ = SoftmaxLoss(1).forward(np, np.array([[-1e4, 1e4]], np.float32), labels, rows, status)
    np.testing.assert_allclose(loss, -np.log(1e-20), rtol=1e-6)


@pytest.mark.parametrize("op", [SoftmaxLoss, MultinomialLogisticLoss])
@pytest.mark.parametrize(
    ("labels", "rows", "before", "after"),
    [([0, 3], 2, 0, 9), ([-1, 0], 2, 0, 9), ([0, 3], 1, 0, 0), ([0, 3], 2, 4, 4), ([2, 0], 2, 0, 0)],
)
def test_status(op, labels, rows, before, after):
    cells = np.array(rows, np.int32), np.array(before, np.int32)
    outputs = op(9).forward(np, np.full((2, 3), 1 / 3), np.array(labels, np.int32), *cells)
    assert outputs[-1] == after
    assert outputs[-1].dtype == np.int32


@pytest.mark.parametrize("label_shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_softmax_loss_is_softmax_and_multinomial_logistic_loss(net_of, label_shape):
    random = np.random.default_rng(3)
    data = {"x": random.normal(size=(4, 5)), "label": random.integers(0, 5, label_shape)}
    one = net_of(data, SoftmaxLossLayer(bottoms=["x", "label"]))
    two = net_of(data, SoftmaxLayer(bottoms=["x"], tops=["p"]), MultinomialLogisticLossLayer(bottoms=["p", "label"]))
    expected = loop_loss(data["x"], data["label"].ravel(), 4, softmax)
    np.testing.assert_allclose([one.forward(), two.forward()], expected, rtol=1e-12)


@pytest.mark.parametrize("layer", [SoftmaxLossLayer, MultinomialLogisticLossLayer])
@pytest.mark.parametrize("label_shape", [(2, 3, 4), (2, 1, 3, 4)])
def test_positions_and_weight(net_of, layer, label_shape):
    random = np.random.default_rng(4)
    data = {"x": random.uniform(0.1, 1, (2, 5, 3, 4)), "label": random.integers(0, 5, label_shape)}
    of = softmax if layer is SoftmaxLossLayer else lambda p: p
    net = net_of(data, layer(bottoms=["x", "label"], weight=0.25))
    np.testing.assert_allclose(net.forward(), 0.25 * loop_loss(data["x"], data["label"], 2, of), rtol=1e-12)


@pytest.mark.parametrize("layer", [SoftmaxLossLayer, MultinomialLogisticLossLayer])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 12, 1], "'loss'.*label 12 in row 1 of the minibatch; expected labels 0 to 9"),
        ([0, 1, -1], "label -1 in row 2 of the minibatch; expected labels 0 to 9"),
        ([1, 10, 4], "label 10 in row 1 of the minibatch; they seem to be counted from 1.* 0 to 9 here: subtract 1"),
        ([0, 10, 4], "label 10 in row 1 of the minibatch; expected labels 0 to 9"),
        ([0.5, 1, 2], "'loss'.*expected labels to be whole numbers 0, 1, 2, ..., received 0.5"),
    ],
)
def test_bad_labels(net_of, layer, labels, message):
    net = net_of({"x": np.full((3, 10), 0.1), "label": np.array(labels)}, layer(name="loss", bottoms=["x", "label"]))
    with pytest.raises(DataError, match=message):
        net.forward()


def test_explains_without_the_labels():
    assert "out of range; expected labels 0 to 9" in SoftmaxLoss(1, 10).explain(None, None, np.array(2), None)


@pytest.mark.parametrize("layer", [SoftmaxLossLayer, MultinomialLogisticLossLayer])
def test_label_shape(net_of, layer):
    with pytest.raises(ShapeError, match=r"shape \(2, 3, 4\) or \(2, 1, 3, 4\), .*received shape \(2, 4, 3\)"):
        net_of({"x": np.zeros((2, 5, 3, 4)), "label": np.zeros((2, 4, 3))}, layer(bottoms=["x", "label"]))


@pytest.mark.parametrize("layer", [SoftmaxLossLayer, MultinomialLogisticLossLayer])
def test_prediction_without_classes(net_of, layer):
    with pytest.raises(ShapeError, match="at least 2 axes"):
        net_of({"x": np.zeros(2), "label": np.zeros(2)}, layer(bottoms=["x", "label"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bottoms": ["x"]}, r"expected 2 bottoms \(prediction, label\), received \['x'\]"),
        ({"tops": ["loss"]}, r"expected no tops, received \['loss'\]"),
        ({"weight": "big"}, "expected weight to be a finite number, received 'big'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        SoftmaxLossLayer(**{"bottoms": ["x", "label"]} | fields)


def test_labels_of_another_shape_are_shown_with_the_way_out(net_of):
    layer = SoftmaxLossLayer(name="loss", bottoms=["x", "y"])
    message = (
        r"SoftmaxLossLayer\(loss\) .*expected labels of shape \(2,\) or \(2, 1\), the index of a class for each "
        r"prediction of float64\[2, 3\]; received shape \(2, 3\)\. Take the argmax\(1\) of one-hot labels\."
    )
    with pytest.raises(ShapeError, match=message):
        net_of({"x": np.zeros((2, 3)), "y": np.eye(3)[:2]}, layer)
