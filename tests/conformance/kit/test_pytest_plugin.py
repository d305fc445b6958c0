"""The kit's pytest plugin, and that nobody gets it who has not asked."""

import subprocess
import sys

import pytest

from mocha_core import hookimpl, layers
from mocha_core.plugin.manager import registries

SUITE = """
import os

from mocha_core import layers
from mocha_core.testing import LayerTests


class TestSplit(LayerTests):
    layer, bottoms = layers.SplitLayer(bottoms=["x"], tops=["y", "z"]), [(2, 2)]


def test_strict():
    assert os.environ["MOCHA_STRICT_PLUGINS"] == "1"
"""


def run(folder, *options, environment=None):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, *options, folder]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, env=environment)


def test_backends_are_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("MOCHA_STRICT_PLUGINS", raising=False)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["mocha_core.testing.pytest_plugin"]')
    (tmp_path / "test_suite.py").write_text(SUITE)
    listed = run(tmp_path, "--collect-only", "-q", "-W", "error", "--mocha-backends", "strict,cpu").stdout
    assert "test_reference[layer-strict-float32]" in listed
    assert "test_reference[layer-cpu-float64]" in listed
    assert "-reference-" not in listed
    done = run(tmp_path, "-q", "-W", "error", "--mocha-backends", "strict,cpu")
    assert done.returncode == 0, done.stdout


def test_assertions_of_the_kit_show_their_operands(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["mocha_core.testing.pytest_plugin"]')
    (tmp_path / "test_suite.py").write_text(
        "from mocha_core.testing import FormatTests\nclass TestUpper(FormatTests): ending = '.HDF5'"
    )
    assert "assert '.HDF5' == '.hdf5'" in run(tmp_path, "-q", "-k", "test_registered").stdout


def test_pytest_alone_loads_nothing_of_mocha(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing(): assert not [m for m in sys.modules if m.startswith('mocha')]"
    )
    done = run(tmp_path, "-q")
    assert done.returncode == 0, done.stdout


class Plugin:
    @hookimpl
    def mocha_register_layers(self, layers):
        layers.add("AcmeLayer", object)


def test_a_plugin_is_registered_for_one_test(register_plugin):
    register_plugin(Plugin(), "acme-layers")
    assert layers.AcmeLayer is object


def test_and_is_taken_out_again():
    assert "AcmeLayer" not in registries().layers.names()
    with pytest.raises(AttributeError):
        layers.AcmeLayer  # noqa: B018
