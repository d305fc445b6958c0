"""`net.predict`: any number of rows; the net stays as it is."""

import numpy as np
import pytest
from toys import nets

import mocha_core as mocha
from mocha_core.errors import ShapeError, UnknownNameError

IMAGES, LABELS, _ = nets.rows()


@pytest.fixture
def net(system):
    """One that uses every feature of the core."""
    return mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()])


def test_a_prediction_leaves_the_net_as_it_is(net):
    net.forward()
    blobs = {name: net.blobs[name].numpy() for name in net.blobs}
    ran, statistics = net.program(), net.statistics()
    net.predict(IMAGES + 1, "scores")
    assert (net.program(), net.statistics()) == (ran, statistics)
    for name, contents in blobs.items():
        np.testing.assert_array_equal(net.blobs[name].numpy(), contents)
    net.backward()
    assert np.abs(net.gradient("conv1", "filter")).max() > 0


def test_predict_takes_any_number_of_rows(net):
    whole = net.predict(IMAGES, "scores", batch_size=20)
    for batch in (None, 1, 3, 7, 50):
        np.testing.assert_allclose(net.predict(IMAGES, "scores", batch_size=batch), whole, rtol=1e-10, atol=1e-13)
    batches = {program.plan.batch for _, program in net.runs.programs()}
    assert batches == {1, 2, 4, 6, 16, 32}, "powers of two, and the data layer's"
    assert net.predict(IMAGES[:0], "scores").shape == (0, 3)
    assert net.predict({"data": IMAGES[:1]}, "pool1").shape == (1, 3, 3, 3)
    assert net.feeds["data"].cursor == 0


@pytest.mark.parametrize("name", ["data", "pool1", "scores"])
def test_a_prediction_is_nobody_elses(net, name):
    images = IMAGES[:4].copy()
    first = net.predict(images, name)
    kept = first.copy()
    net.predict(images + 1, name)
    np.testing.assert_array_equal(first, kept)
    first[...] = 0
    np.testing.assert_array_equal(images, IMAGES[:4])
    np.testing.assert_array_equal(net.predict(images, name), kept)


def test_predict_says_what_it_wants(net, system):
    with pytest.raises(UnknownNameError, match=r"Net 'net' has no blob 'score'"):
        net.predict(IMAGES, "score")
    with pytest.raises(
        ShapeError, match=r"Net 'net', blob 'data': expected an array of shape \(any, 2, 8, 8\), received \(2, 8, 8\)"
    ):
        net.predict(IMAGES[0], "scores")
    with pytest.raises(ShapeError, match="expected a dict of arrays for data, label, received one array"):
        net.predict(IMAGES, "loss")
    with pytest.raises(ShapeError, match="expected a dict of arrays for data, received images"):
        net.predict({"images": IMAGES}, "scores")
    with pytest.raises(ShapeError, match=r"blob 'label': expected an array of shape \(20\), received \(3,\)"):
        net.predict({"data": IMAGES, "label": LABELS[:3]}, "loss")
    with pytest.raises(ShapeError, match=r"Net 'net': expected a blob with a row for each .*'loss' has shape \(\)"):
        net.predict({"data": IMAGES, "label": LABELS}, "loss")
    for size in (-2, 0):
        with pytest.raises(mocha.MochaError, match=f"expected batch_size to be an integer >= 1, received {size}"):
            net.predict(IMAGES, "scores", batch_size=size)
    for wrong in (3.0, {}, {"data": 3.0}):
        with pytest.raises(ShapeError):
            net.predict(wrong, "scores")
