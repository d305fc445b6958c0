import numpy as np
import pytest
from mocha_layers_std import AccuracyLayer
from mocha_layers_std.accuracy import Accuracy

from mocha_core.errors import ConfigurationError, DataError


def loop_count(prediction, labels, rows):
    n, classes, *positions = prediction.shape
    labels, correct, count = labels.reshape(n, *positions), 0, 0
    for row in range(rows):
        for at in np.ndindex(*positions):
            scores = [prediction[(row, c, *at)] for c in range(classes)]
            correct += scores.index(max(scores)) == labels[(row, *at)]
            count += 1
    return np.array([correct, count], float)


@pytest.mark.parametrize(("shape", "rows"), [((40, 3), 40), ((40, 3), 7), ((6, 4, 3, 2), 5), ((4, 3, 2, 2, 2), 4)])
def test_loops(shape, rows):
    random = np.random.default_rng(1)
    # Few different values: many ties, which the lowest index wins.
    prediction = random.integers(0, 3, shape).astype(float)
    labels = random.integers(0, shape[1], (shape[0], 1, *shape[2:])).astype(np.int32)
    before = np.array([3.0, 8.0])
    cells = np.array(rows, np.int32), np.array(0, np.int32)
    status, total = Accuracy(1).forward(np, prediction, labels, *cells, before)
    assert status == 0
    np.testing.assert_array_equal(total, before + loop_count(prediction, labels, rows))


def test_means_over_several_minibatches(net_of):
    random = np.random.default_rng(2)
    data = {"x": random.normal(size=(10, 3)), "label": random.integers(0, 3, (10, 1, 1, 1))}
    net = net_of(data, AccuracyLayer(name="test", bottoms=["x", "label"]))
    correct, count = loop_count(data["x"], data["label"], 10)
    net.forward()
    net.forward()
    assert net.statistics() == {"test-accuracy": correct / count}
    assert net.show_statistics() == [f"Accuracy (avg over 20) = {100 * correct / count:.4f}%"]
    net.reset_statistics()
    net.forward_epoch()
    assert net.show_statistics() == [f"Accuracy (avg over 10) = {100 * correct / count:.4f}%"]


def test_label_out_of_range(net_of):
    net = net_of({"x": np.zeros((2, 3)), "label": np.array([0, 3])}, AccuracyLayer(name="acc", bottoms=["x", "label"]))
    with pytest.raises(DataError, match=r"'acc'.*label 3 in row 1 of the minibatch; expected labels 0 to 2"):
        net.forward()


def test_bad_fields():
    with pytest.raises(ConfigurationError, match=r"acc.*expected no tops, received \['y'\]"):
        AccuracyLayer(name="acc", bottoms=["x", "label"], tops=["y"])
