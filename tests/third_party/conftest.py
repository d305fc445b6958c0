"""Third parties' distributions: installed for real, or else these tests are skipped.

In this process those that are broken on purpose are disabled, and the others must load. The fixture `python` starts
others, with all of them.
"""

import os
import runpy
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from third_parties import BROKEN, GOOD, HERE

MISSING = {*GOOD, *BROKEN, "acme-softplus"} - {d.name for d in distributions()}

if not MISSING:
    # Unless a process was started that is to have them.
    os.environ.setdefault("MOCHA_DISABLED_PLUGINS", ",".join(BROKEN))
    os.environ.setdefault("MOCHA_STRICT_PLUGINS", "1")


class NotInstalled(pytest.Module):
    def collect(self):
        pytest.skip("the third parties' distributions are not installed: tox run -e third-party")


def pytest_pycollect_makemodule(module_path, parent):
    return NotInstalled.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder with train.txt and test.txt: the embedded digits."""
    from mocha_core import cli

    folder = tmp_path_factory.mktemp("digits")
    assert cli.main(["data", "mnist", "--to", str(folder)]) == 0
    return folder


@pytest.fixture
def python(tmp_path):
    """Runs Python in another process, in which all plugins but the named ones are loaded."""

    def run(*arguments, disabled="acme-sleeper", strict=False):
        switches = {"MOCHA_DISABLED_PLUGINS": disabled, "MOCHA_STRICT_PLUGINS": str(int(strict))}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=os.environ | switches | {"PYTHONPATH": str(HERE)}, cwd=tmp_path, text=True, capture_output=True,
            timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def lines_of_code():
    """How many a module of a distribution has, without comments and docstrings."""
    count = runpy.run_path(str(HERE.parent / "packaging" / "test_size.py"))["lines_of_code"]

    def lines(distribution, module):
        (path,) = HERE.glob(f"good/{distribution}/src/*/{module}.py")
        return count(path)

    return lines


@pytest.fixture
def kernels():
    """Which kernels serve a small net: `kernels(backend, layer from blob "x" to blob "y")`."""
    import mocha_core as mocha
    from mocha_core import layers
    from mocha_core.testing.inputs import distinct

    def run(backend, layer, **options):
        with mocha.System(backend, **options) as system:
            data = layers.MemoryDataLayer(
                name="data", data=[distinct((4, 3)), distinct((4, 3), 1)], batch_size=4, tops=["x", "t"]
            )
            net = mocha.Net("net", system, [data, layer, layers.SquareLossLayer(name="loss", bottoms=["y", "t"])])
            net.forward()
            return net.program().kernels()

    return run
