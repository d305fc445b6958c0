"""`save_network` and `load_network` through HDF5: Mocha's files, Caffe's, and files that do not fit."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import layers
from mocha_core.errors import FileError, ShapeError, UnknownNameError


@pytest.fixture
def make_net():
    systems = []

    def make_net(seed, classes=3, ip="ip1"):
        systems.append(mocha.System("cpu", seed=seed))
        x, label = np.zeros((4, 1, 6, 6)), np.zeros((4, 1))
        data = layers.MemoryDataLayer(name="data", data=[x, label], batch_size=2)
        conv = layers.ConvolutionLayer(name="conv1", n_filter=2, kernel=(3, 3), bottoms=["data"], tops=["conv1"])
        ip = layers.InnerProductLayer(name=ip, output_dim=classes, bottoms=["conv1"], tops=["ip1"])
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
    message = r"net.h5', parameter 'ip1___weight' of layer 'ip1': expected shape \(5, 32\), received \(3, 32\)"
    with pytest.raises(ShapeError, match=message):
        mocha.load_network(tmp_path / "net.h5", second)
    assert equal(contents(second), before)


def test_a_layer_with_another_number_of_classes_is_renamed_and_trained_anew(make_net, tmp_path):
    """As the error says, and as Caffe's users know it."""
    first, second = make_net(1), make_net(2, classes=5)
    mocha.save_network(tmp_path / "net.h5", first)
    for strict in (True, False):
        with pytest.raises(ShapeError, match=r"layer 'ip1'.*rename it, such as to 'ip1-new', .*strict=False"):
            mocha.load_network(tmp_path / "net.h5", second, strict=strict)
    renamed = make_net(2, classes=5, ip="ip1-new")
    before = contents(renamed)
    with pytest.warns(UserWarning, match="for ip1-new") as warned:
        mocha.load_network(tmp_path / "net.h5", renamed, strict=False)
    assert [str(w.message) for w in warned] == [
        f"No {name} found for ip1-new, use default initialization" for name in ("weight", "bias")
    ]
    after = contents(renamed)
    for name in ("filter", "bias"):
        np.testing.assert_array_equal(after[f"conv1___{name}"], contents(first)[f"conv1___{name}"])
    for name in ("weight", "bias"):
        np.testing.assert_array_equal(after[f"ip1-new___{name}"], before[f"ip1-new___{name}"])


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_of_another_net_is_an_error(make_net, tmp_path, strict):
    net = make_net(1)
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["fc8___weight"] = np.zeros(3)
    with pytest.raises(FileError, match=r"no parameter of net 'n'.* has conv1___bias, .*file has fc8___weight\. Name"):
        mocha.load_network(tmp_path / "net.h5", net, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_a_network_that_caffe_saved_is_recognised_and_can_be_converted(make_net, tmp_path, monkeypatch, strict):
    monkeypatch.chdir(tmp_path)
    first, second = make_net(1, ip="head-ip1"), make_net(2, ip="head-ip1")
    arrays = contents(first)
    with h5py.File("x.caffemodel.h5", "w") as file:
        for layer, weight in (("conv1", "filter"), ("head/ip1", "weight")):
            name = layer.replace("/", "-")
            file[f"data/{layer}/0"] = arrays[f"{name}___{weight}"]
            file[f"data/{layer}/1"] = arrays[f"{name}___bias"]
        file.create_group("data/relu1")
    with pytest.raises(FileError, match=r"x.caffemodel.h5' has Caffe's layout") as caught:
        mocha.load_network("x.caffemodel.h5", second, strict=strict)
    assert "strict" not in str(caught.value)
    subprocess.run([sys.executable, "-c", str(caught.value).partition("\n\n")[2]], check=True)
    mocha.load_network("net.h5", second, strict=strict)
    assert equal(contents(first), contents(second))


def test_the_home_folder_is_expanded(make_net, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    first, second = make_net(1), make_net(2)
    mocha.save_network("~/net.h5", first)
    mocha.load_network("~/net.h5", second)
    assert (tmp_path / "net.h5").exists()
    assert equal(contents(first), contents(second))


def test_an_unknown_ending_names_the_known_ones(make_net, tmp_path):
    with pytest.raises(UnknownNameError, match=r"the ending '.onnx' is unknown. Known: .*\.h5, \.hdf5"):
        mocha.save_network(tmp_path / "net.onnx", make_net(1))
