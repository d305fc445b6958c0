"""What `tox -e pkg` runs where nothing but the built wheels is installed."""

import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import mocha_core as mocha
from mocha_core import layers, neurons, solvers

SITE = Path(sysconfig.get_path("purelib"))
PACKAGES = sorted(["mocha_core", *(point.value.partition(".")[0] for point in entry_points(group="mocha"))])


def mocha_command(*arguments):
    command = Path(sys.executable).with_name("mocha")
    return subprocess.run([command, *arguments], text=True, capture_output=True, check=True).stdout


def test_everything_comes_from_the_wheels():
    assert len(PACKAGES) >= 6
    for package in PACKAGES:
        spec = find_spec(package)
        assert Path(spec.origin).is_relative_to(SITE), spec.origin
        assert (SITE / package / "py.typed").is_file()


def test_the_command_lists_every_plugin_as_working():
    lines = mocha_command("plugins").splitlines()
    states = [line for line in lines if not line.startswith(" ")]
    assert len(states) == len(PACKAGES) - 1
    assert all(line.endswith(": ok") for line in states)


def test_a_new_plugin_is_written(tmp_path):
    said = mocha_command("new-plugin", "cold-brew", "--to", str(tmp_path))
    assert f"cd {tmp_path / 'cold-brew'}" in said
    source = (tmp_path / "cold-brew" / "src" / "cold_brew" / "layer.py").read_text(encoding="utf-8")
    assert "class ColdBrewLayer" in source
    assert (tmp_path / "cold-brew" / ".github" / "workflows" / "test.yml").is_file()


def test_embedded_digits_are_converted_and_learned(tmp_path):
    mocha_command("data", "mnist", "--to", str(tmp_path))

    def net(name, split, last):
        data = layers.HDF5DataLayer(name=f"{split}-data", source=tmp_path / f"{split}.txt", batch_size=50)
        return mocha.Net(name, system, [data, hidden, output, last])

    hidden = layers.InnerProductLayer(
        name="hidden", output_dim=64, neuron=neurons.ReLU(), bottoms=["data"], tops=["hidden"]
    )
    output = layers.InnerProductLayer(name="output", output_dim=10, bottoms=["hidden"], tops=["output"])
    with mocha.System(seed=1) as system:
        training = net("training", "train", layers.SoftmaxLossLayer(bottoms=["output", "label"]))
        test = net("test", "test", layers.AccuracyLayer(name="rate", bottoms=["output", "label"]))
        solvers.SGD(mocha.SolverParameters(max_iter=300, lr_policy=0.05)).solve(training)
        test.forward_epoch()
        assert test.statistics()["rate-accuracy"] > 0.8

        mocha.save_network(tmp_path / "digits.hdf5", training)
        saved = training.parameters["output"]["weight"].numpy()
        training.parameters["output"]["weight"].set(np.zeros_like(saved))
        mocha.load_network(tmp_path / "digits.hdf5", training)
        np.testing.assert_array_equal(training.parameters["output"]["weight"].numpy(), saved)
