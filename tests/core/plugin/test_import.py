"""What importing costs: neither NumPy nor any plugin until something is used."""

import subprocess
import sys

import pytest


def modules_after(code):
    """Names of the modules an empty interpreter has imported after `code`."""
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def heavy(modules):
    """Third-party modules and plugins; editable installs put finders of their own there, which do not count."""
    names = {"numpy", "h5py", "packaging", "pluggy", "cupy", "cffi", "threadpoolctl", "tqdm", "importlib.metadata"}
    plugins = {m for m in modules if m.startswith("mocha_") and not m.startswith("mocha_core")}
    return (modules & names) | plugins


def test_import_is_light():
    base = modules_after("")
    assert heavy(modules_after("import mocha_core as mocha") - base) == set()
    everything = "import mocha_core as m; m.layers; m.neurons; m.coffee; m.solvers; m.backends; m.MochaError; dir(m)"
    assert heavy(modules_after(everything) - base) == set()


@pytest.mark.parametrize(
    "name", ["layers", "graph.op", "graph.plan", "net.topology", "checks", "errors", "plugin.hookspecs"]
)
def test_light_modules_stay_light(name):
    assert "numpy" not in modules_after(f"import mocha_core.{name}")


def test_use_imports_numpy():
    assert "numpy" in modules_after("import mocha_core; mocha_core.System")
