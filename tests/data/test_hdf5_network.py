"""`save_network` and `load_network` through HDF5: Mocha's files, Caffe's, and files that do not fit."""

import h5py
import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import FileError, ShapeError, UnknownNameError


@pytest.fixture
def make_net():
    systems = []

    def make_net(seed, classes=3):
        systems.append(mocha.System("cpu", seed=seed))
        x, label = np.zeros((4, 1, 6, 6)), np.zeros((4, 1))
        data = layers.MemoryDataLayer(name="data", data=[x, label], batch_size=2)
        conv = layers.ConvolutionLayer(name="conv1", n_filter=2, kernel=(3, 3), bottoms=["data"], tops=["conv1"])
        ip = layers.InnerProductLayer(name="ip1", output_dim=classes, bottoms=["conv1"], tops=["ip1"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip1", "label"])
        return mocha.Net("n", systems[-1], [data, conv, ip, loss])

    yield make_net
    for system in systems:
        system.close()


def contents(net):
    return {key: state.numpy() for key, state in net.states.items()}


def equal(a, b):
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


@pytest.mark.parametrize("ending", [".hdf5", ".h5"])
def test_a_network_comes_back(make_net, tmp_path, ending):
    first, second = make_net(1), make_net(2)
    assert not equal(contents(first), contents(second))
    mocha.save_network(tmp_path / f"net{ending}", first)
    with h5py.File(tmp_path / f"net{ending}") as file:
        shapes = {name: dataset.shape for name, dataset in file.items()}
    assert shapes == {
        "conv1___filter": (2, 1, 3, 3), "conv1___bias": (2,), "ip1___weight": (3, 32), "ip1___bias": (3,),
    }  # fmt: skip
    mocha.load_network(str(tmp_path / f"net{ending}"), second)
    assert equal(contents(first), contents(second))


def test_two_underscores_singleton_axes_and_other_dtypes_are_read(make_net, tmp_path):
    first, second = make_net(1), make_net(2)
    arrays = contents(first)
    with h5py.File(tmp_path / "caffe.h5", "w") as file:
        file["conv1__filter"] = arrays["conv1___filter"].astype("float64")
        file["conv1___bias"] = arrays["conv1___bias"].reshape(1, 1, 1, 2)
        file["ip1___weight"] = arrays["ip1___weight"].reshape(1, 1, 3, 32)
        file["ip1__bias"] = arrays["ip1___bias"].reshape(1, 3)
        file["another___weight"] = np.zeros(3)
    mocha.load_network(tmp_path / "caffe.h5", second)
    assert equal(contents(first), contents(second))


def test_a_missing_bias_is_a_warning(make_net, tmp_path):
    first, second = make_net(1), make_net(2)
    mocha.save_network(tmp_path / "net.h5", first)
    with h5py.File(tmp_path / "net.h5", "a") as file:
        del file["ip1___bias"]
    with pytest.warns(UserWarning, match="No bias found for ip1, use default initialization"):
        mocha.load_network(tmp_path / "net.h5", second)
    assert (second.states["ip1___weight"].numpy() == first.states["ip1___weight"].numpy()).all()


def test_another_missing_parameter_is_an_error_and_nothing_is_loaded(make_net, tmp_path):
    first, second = make_net(1), make_net(2)
    before = contents(second)
    mocha.save_network(tmp_path / "net.h5", first)
    with h5py.File(tmp_path / "net.h5", "a") as file:
        del file["ip1___weight"]
    with pytest.raises(FileError, match=r"net.h5' has no parameter 'ip1___weight' for net 'n'; it has conv1___bias"):
        mocha.load_network(tmp_path / "net.h5", second)
    assert equal(contents(second), before)
    with pytest.warns(UserWarning, match="No weight found for ip1, use default initialization"):
        mocha.load_network(tmp_path / "net.h5", second, strict=False)
    assert (second.states["conv1___filter"].numpy() == first.states["conv1___filter"].numpy()).all()
    assert (second.states["ip1___weight"].numpy() == before["ip1___weight"]).all()


def test_another_shape_is_an_error_and_nothing_is_loaded(make_net, tmp_path):
    first, second = make_net(1), make_net(2, classes=5)
    before = contents(second)
    mocha.save_network(tmp_path / "net.h5", first)
    message = r"net.h5', parameter 'ip1___weight': expected shape \(5, 32\), received \(3, 32\)"
    with pytest.raises(ShapeError, match=message):
        mocha.load_network(tmp_path / "net.h5", second)
    assert equal(contents(second), before)


def test_an_unknown_ending_names_the_known_ones(make_net, tmp_path):
    with pytest.raises(UnknownNameError, match=r"the ending '.onnx' is unknown. Known: .*\.h5, \.hdf5"):
        mocha.save_network(tmp_path / "net.onnx", make_net(1))
