"""Scale, SubMean and Mirror: by formulas, on single rows, and in nets."""

import numpy as np
import pytest
from mocha_layers_std import MemoryDataLayer

import mocha_core as mocha
from mocha_core import transformers
from mocha_core.errors import ConfigurationError, ShapeError

IMAGES = np.random.default_rng(4).standard_normal((40, 3, 2, 5))


@pytest.fixture
def epochs(system):
    """The images of two epochs, in their own order, after some transformers."""

    def run(*chosen, shuffle=False, batch=8):
        layer = MemoryDataLayer(
            data=[IMAGES, np.arange(40)], batch_size=batch, transformers=[("data", t) for t in chosen], shuffle=shuffle
        )
        net = mocha.Net("net", system, [layer])
        found = np.zeros((2, *IMAGES.shape))
        for i in range(80 // batch):
            net.forward()
            found[i * batch // 40, net.blobs["label"].numpy().astype(int)] = net.blobs["data"].numpy()
        return found

    return run


def test_scale_multiplies(epochs):
    np.testing.assert_array_equal(epochs(transformers.Scale(0.25))[1], IMAGES * 0.25)
    np.testing.assert_array_equal(epochs(transformers.Scale())[0], IMAGES)


@pytest.mark.parametrize(
    "mean", [0.5, np.arange(3.0).reshape(3, 1, 1), IMAGES.mean(axis=0)], ids=["", "channels", "all"]
)
def test_sub_mean_subtracts(epochs, mean):
    np.testing.assert_allclose(epochs(transformers.SubMean(mean))[1], IMAGES - mean, atol=1e-12)


def test_they_follow_each_other(epochs):
    """As Mocha applies them: (x - 0.5) * 2."""
    found = epochs(transformers.SubMean(0.5), transformers.Scale(2))
    np.testing.assert_allclose(found[0], (IMAGES - 0.5) * 2, atol=1e-12)


def test_a_mean_is_copied(epochs):
    mean = np.ones(5)
    transformer = transformers.SubMean(mean)
    mean[...] = 9
    np.testing.assert_allclose(epochs(transformer)[0], IMAGES - 1, atol=1e-12)
    assert repr(transformer) == "SubMean(mean of shape (5,))"


def flipped(found):
    """Which rows of each epoch are flipped; every row is there either way."""
    return np.array([[(f == image[..., ::-1]).all() for f, image in zip(e, IMAGES, strict=True)] for e in found])


def test_mirror_flips_some_rows_anew_in_each_epoch(epochs):
    found = epochs(transformers.Mirror())
    flips = flipped(found)
    as_they_were = np.array([[(f == image).all() for f, image in zip(e, IMAGES, strict=True)] for e in found])
    assert (flips ^ as_they_were).all()
    assert 20 < flips.sum() < 60
    assert (flips[0] != flips[1]).any()
    for options in ({"shuffle": True}, {"batch": 20}):
        np.testing.assert_array_equal(flipped(epochs(transformers.Mirror(), **options)), flips)
    np.testing.assert_array_equal(epochs(transformers.Mirror(0))[1], IMAGES)
    np.testing.assert_array_equal(epochs(transformers.Mirror(1))[1], IMAGES[..., ::-1])
    assert flipped(epochs(transformers.Mirror(0.1))).sum() < 20


def test_which_are_fixed():
    made = [transformers.Scale(2), transformers.SubMean(1), transformers.Mirror(0.5), transformers.Mirror(0)]
    assert [one.fixed for one in made] == [True, True, False, True]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: transformers.Scale("2"), ConfigurationError, "Scale: expected scale to be a finite number"),
        (lambda: transformers.Mirror(1.5), ConfigurationError, r"Mirror: expected probability .* in \[0, 1\]"),
        (lambda: transformers.SubMean([1, np.nan]), ConfigurationError, "a mean of finite numbers, received nan in it"),
        (lambda: transformers.SubMean("mean.hdf5"), ShapeError, "SubMean, mean: expected an array of numbers"),
    ],
)
def test_bad_fields(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("top", "transformer", "message"),
    [
        (
            "data",
            transformers.SubMean(np.zeros((2, 3, 2, 5))),
            r"the shape of a row, \(3, 2, 5\), .*received \(2, 3, 2, 5\)",
        ),
        ("data", transformers.SubMean(np.zeros(4)), r"received \(4,\)"),
        ("label", transformers.Mirror(), "Mirror: expected rows with an axis to flip"),
    ],
)
def test_rows_that_do_not_fit(system, top, transformer, message):
    layer = MemoryDataLayer(data=[IMAGES, np.arange(40)], batch_size=8, transformers=[(top, transformer)])
    with pytest.raises(ShapeError, match=message):
        mocha.Net("net", system, [layer])
