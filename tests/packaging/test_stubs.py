"""The stubs of the namespaces say what the plugins register."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = runpy.run_path(str(ROOT / "tools" / "make_stubs.py"))["stubs"]()


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.name)
def test_stub_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == STUBS[path], "run `python tools/make_stubs.py`"


def test_stubs_have_the_layers():
    layers = STUBS[ROOT / "mocha_core" / "layers.pyi"]
    assert "from mocha_layers_std.convolution import ConvolutionLayer as ConvolutionLayer\n" in layers


@pytest.mark.parametrize(
    ("expression", "plugin", "message"),
    [
        ("layers.ConvolutionLayer", "layers-std", "layers.ConvolutionLayer belongs to mocha-layers-std"),
        ("solvers.SGD", "solvers-std", "solvers.SGD belongs to mocha-solvers-std"),
        ("backends.cpu", "cpu", "backends.cpu belongs to mocha-cpu"),
    ],
)
def test_a_missing_name_says_which_distribution_has_it(expression, plugin, message):
    environment = os.environ | {"MOCHA_DISABLED_PLUGINS": plugin}
    program = f"import mocha_core; mocha_core.{expression}"
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True)
    assert f"UnknownNameError: {message}" in done.stderr
    assert "disabled" in done.stderr
