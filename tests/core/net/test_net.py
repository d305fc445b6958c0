"""What a net does and says: runs, blobs, parameters, statistics, faults, and its end."""

import re
import threading

import numpy as np
import pytest
from toys import nets
from toys.accuracy import AccuracyLayer
from toys.backends import BACKENDS
from toys.dropout import DropoutLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer

import mocha_core as mocha
from mocha_core.errors import DataError, ShapeError, StateError, UnknownNameError

IMAGES, LABELS, TARGETS = nets.rows()


@pytest.fixture
def net(system):
    """One that uses every feature of the core."""
    return mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()])


def labelled(labels, batch=6):
    arrays = (IMAGES[: len(labels)], np.asarray(labels))
    return MemoryLayer(name="data", batch_size=batch, arrays=arrays)


def test_forward_and_backward(net):
    with pytest.raises(StateError, match=r"Net 'net' has not run yet\. Call net.forward\(\) first"):
        net.backward()
    with pytest.raises(StateError, match="has not run yet"):
        net.blobs["ip1"].numpy()
    objective = net.forward()
    assert objective == pytest.approx(float(net.blobs["loss"].numpy()) + float(net.blobs["side-loss"].numpy()) / 2)
    np.testing.assert_array_equal(net.blobs["data"].numpy(), IMAGES[:6].astype(np.float64))
    net.backward()
    assert np.abs(net.gradient("conv1", "filter")).max() > 0
    net.forward(mocha.Phase.TEST)
    with pytest.raises(StateError, match=r"call net.forward\(\) right before net.backward\(\)"):
        net.backward()


@pytest.mark.parametrize("name", BACKENDS)
def test_backward_may_be_run_again(name):
    """Also after a blob was changed, and back: nothing that backward reads is lost in it."""
    with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        net.forward()
        seen = []
        for factor in (1, 2, 0.5):
            net.blobs["side"].set(net.blobs["side"].numpy() * factor)
            net.backward()
            seen.append({f"{la}.{n}": net.gradient(la, n) for la, group in net.parameters.items() for n in group})
    first, other, again = seen
    assert not np.array_equal(first["side.weight"], other["side.weight"])
    for key, gradient in first.items():
        np.testing.assert_array_equal(gradient, again[key], err_msg=key)


def test_blobs_are_a_mapping_of_windows(net):
    assert set(net.blobs) == {"data", "label", "target", "conv1", "pool1", "conv2", "ip1", "half", "tied1", "tied2",
                              "scores", "square", "side", "loss", "side-loss"}  # fmt: skip
    blob = net.blobs["conv1"]
    assert (blob.shape, blob.dtype, repr(blob)) == ((6, 3, 6, 6), np.float64, "<Blob conv1: float64[6, 3, 6, 6]>")
    net.forward()
    np.testing.assert_array_equal(np.asarray(blob), blob.numpy())
    np.testing.assert_array_equal(np.from_dlpack(blob), blob.numpy())
    assert np.asarray(blob, dtype="float32").dtype == np.float32
    with pytest.raises(
        UnknownNameError, match=r"Net 'net' has no blob 'conv9'. Did you mean 'conv1'\? It has: data, label"
    ):
        net.blobs["conv9"]
    with pytest.raises(ShapeError, match=r"Blob 'conv1': expected an array of shape \(6, 3, 6, 6\), received \(3,\)"):
        blob.set(np.zeros(3))


def test_parameters_read_write_and_check(net):
    weight = net.parameters["scores"]["weight"]
    assert set(net.parameters) == {"conv1", "conv2", "ip1", "tied1", "tied2", "scores", "side"}
    assert net.parameters["tied1"]["weight"] is net.parameters["tied2"]["weight"]
    assert "tied2___weight" not in net.states
    assert "norm___mean" in net.states
    weight.set(np.ones((3, 5)))
    assert np.asarray(weight).sum() == 15
    assert repr(weight) == "<Parameter scores___weight: float64[3, 5]>"
    with pytest.raises(ShapeError, match=r"Parameter 'scores___weight': expected .*\(3, 5\), received \(2,\)"):
        weight.set([1, 2])


def test_an_epoch_covers_each_row_once(net):
    """20 rows in batches of 6: the last batch has two, and the cursor stays."""
    net.forward()
    cursor = net.feeds["data"].cursor
    loss = net.forward_epoch()
    scores, side = net.predict(IMAGES, "scores"), net.predict(IMAGES, "side")
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -logs[np.arange(20), LABELS].mean() + 0.5 * ((side - TARGETS) ** 2).sum() / 2 / 20
    assert loss == pytest.approx(expected, rel=1e-10)
    right = (scores.argmax(1) == LABELS).mean()
    assert net.statistics() == {"accuracy-accuracy": pytest.approx(right)}
    assert net.show_statistics() == [f"Accuracy (avg over 20) = {right:.4%}"]
    assert net.feeds["data"].cursor == cursor
    net.forward_epoch()
    assert net.statistics() == {"accuracy-accuracy": pytest.approx(right)}, "an epoch starts anew"


def test_statistics_add_up_until_they_are_reset(system):
    layers = [nets.data(), nets.dense(), AccuracyLayer(name="acc", bottoms=["x", "label"])]
    net = mocha.Net("net", system, layers)
    assert np.isnan(net.statistics()["acc-accuracy"])
    for _ in range(2):
        net.forward()
    assert "(avg over 12)" in net.show_statistics()[0]
    net.reset_statistics()
    net.forward()
    assert "(avg over 6)" in net.show_statistics()[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0, 0], r"Layer 'loss' in net 'n': expected labels 0 to 2, received 3"),
        ([0, 1, -1, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels 0 to 2, received -1"),
        ([0, 1, 1.5, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels to be whole numbers .*received 1.5"),
        ([0, 1, np.nan, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels to be whole numbers .*received nan"),
    ],
)
def test_a_bad_label_names_the_layer_and_changes_no_parameter(system, labels, message):
    layers = [labelled(labels), nets.dense(), SoftmaxLossLayer(name="loss", bottoms=["x", "label"])]
    net = mocha.Net("n", system, layers)
    before = net.parameters["x"]["weight"].numpy()
    for run in (net.forward, net.forward_epoch, lambda: SGD(parameters()).solve(net)):
        with pytest.raises(DataError, match=message):
            run()
    np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), before)


def test_rows_that_do_not_count_may_have_any_label(system):
    """Seven rows in batches of six: five of the second batch repeat the last row and count for nothing."""
    layers = [labelled([0, 1, 2, 0, 1, 2, 1]), nets.dense(), SoftmaxLossLayer(name="loss", bottoms=["x", "label"])]
    net = mocha.Net("n", system, layers)
    scores = net.predict(IMAGES[:7], "x")
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -logs[np.arange(7), [0, 1, 2, 0, 1, 2, 1]].mean()
    assert net.forward_epoch() == pytest.approx(expected, rel=1e-12)


def test_a_destroyed_net_says_so_and_its_parameters_live_on(system):
    shared = nets.dense()
    data = nets.data(prefetch=True)
    net, other = (mocha.Net(n, system, [data, shared]) for n in ("net", "other"))
    net.forward()
    weight = net.parameters["x"]["weight"].numpy()
    net.destroy()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
    assert net.feeds["data"].source.closed
    for run in (net.forward, net.forward_epoch, lambda: net.predict(IMAGES, "x")):
        with pytest.raises(StateError, match=r"Net 'net' was destroyed\. Build a new Net"):
            run()
    with pytest.raises(StateError):
        net.blobs["x"].numpy()
    np.testing.assert_array_equal(other.parameters["x"]["weight"].numpy(), weight)
    other.forward()
    other.destroy()


def test_a_closed_system_says_so():
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [nets.data(), nets.dense()])
        net.forward()
        weight = net.parameters["x"]["weight"]
    for run in (net.forward, lambda: net.predict(IMAGES, "x"), weight.numpy, lambda: weight.set(np.zeros((3, 128))),
                lambda: mocha.Net("late", system, [nets.data(), nets.dense()])):  # fmt: skip
        with pytest.raises(StateError, match="This System is closed"):
            run()


def test_a_net_without_a_loss_has_no_objective(system):
    net = mocha.Net("net", system, [nets.data(), nets.dense(), AccuracyLayer(name="acc", bottoms=["x", "label"])])
    assert np.isnan(net.forward())
    assert np.isnan(net.forward_epoch())
    assert net.statistics()["acc-accuracy"] == (net.predict(IMAGES, "x").argmax(1) == LABELS).mean()


def test_listings(net):
    text = str(net)
    assert "NAME: net" in text
    assert "BACKEND: plain" in text
    assert " *** ConvolutionLayer(conv1)\n    Inputs ----" in text
    assert "        conv1: 6 x 3 x 6 x 6" in text
    net.forward()
    summary = net.summary()
    assert re.search(r"^conv1 +ConvolutionLayer +conv1 6 x 3 x 6 x 6 +57$", summary, re.MULTILINE)
    count = sum(p.value.spec.size for p in {id(p): p for g in net.parameters.values() for p in g.values()}.values())
    assert f"{count:,} parameters" in summary


def test_each_forward_draws_another_mask_which_the_cursor_decides(system):
    drop = DropoutLayer(name="drop", ratio=0.5, bottoms=["data"], tops=["dropped"])
    net = mocha.Net("net", system, [nets.data(6, 6), drop])
    masks = []
    for cursor in (0, 6, 0):
        net.feeds.first.seek(cursor)
        net.forward()
        masks.append(net.blobs["dropped"].numpy() != 0)
    assert np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[1])
