"""`PluginTests` notices what it is for: of these distributions, all but one have one fault each."""

import os
import re
import subprocess
import sys

import pytest

from mocha_core.errors import ConfigurationError
from mocha_core.testing import PluginTests

MODULE = "from mocha_core import hookimpl\n\n\n@hookimpl\ndef mocha_register_{kind}({kind}):\n    {kind}.add({what})\n"
OP = """
from mocha_core.graph.op import Op


class Wave(Op):
    name = "{name}"

    def infer(self, x):
        return (x,)
"""


def op(package, name, registered=None):
    target = f'"{registered or name}", "{package}.wave:Wave"'
    return {"_plugin.py": MODULE.format(kind="ops", what=target), "wave.py": OP.format(name=name), "py.typed": ""}


def kernel(package, target_op, build):
    target = f'"{target_op}", "reference", "{package}.wave:build"'
    return {"_plugin.py": MODULE.format(kind="kernels", what=target), "wave.py": build, "py.typed": ""}


def named(package, kind, name, attribute):
    target = f'"{name}", "{package}.wave:{attribute}"'
    return {"_plugin.py": MODULE.format(kind=kind, what=target), "wave.py": f"class {attribute}: ...", "py.typed": ""}


def without(files, name):
    return {key: text for key, text in files.items() if key != name}


METADATA = "Requires-Dist: mocha-core~=0.1.0\nLicense-Expression: MIT\n"
CORE = "test_it_requires_a_core_of_this_interface"
NAMES = "test_ops_have_their_own_names"
LIGHT = "test_finding_it_imports_nothing_else"
UNLOADED = {"test_it_loads", "test_it_works_alone_and_strictly"}
#: By package: its files, its metadata, and which tests have to fail.
DISTRIBUTIONS = {
    "sound": (op("sound", "sound.wave"), METADATA, set()),
    "heavy": (op("heavy", "heavy.wave") | {"__init__.py": "import numpy"}, METADATA, {LIGHT}),
    "renamed": (op("renamed", "renamed.wave", "renamed.other"), METADATA, {NAMES}),
    "unprefixed": (op("unprefixed", "wave"), METADATA, {NAMES}),
    "dotless": (op("dotless", "dotless_wave"), METADATA, {NAMES}),
    "untyped": (without(op("untyped", "untyped.wave"), "py.typed"), METADATA, {"test_it_is_typed"}),
    "unbounded": (op("unbounded", "unbounded.wave"), METADATA.replace("~=", ">="), {CORE}),
    "older": (op("older", "older.wave"), METADATA.replace("0.1.0", "0.0.1"), {CORE, *UNLOADED}),
    "lawless": (op("lawless", "lawless.wave"), METADATA.partition("License")[0], {"test_it_has_a_licence"}),
    "missing": (op("missing", "missing.wave") | {"wave.py": ""}, METADATA, {"test_everything_loads[ops]", NAMES}),
    "orphan": (kernel("orphan", "nobody.op", "def build(backend, call): ..."), METADATA, {"test_kernels"}),
    "narrow": (kernel("narrow", "sound.wave", "def build(call): ..."), METADATA, {"test_kernels"}),
    "stranger": (
        named("stranger", "layers", "Thing", "Other"),
        METADATA,
        {"test_layers_are_named_as_they_are_registered"},
    ),
    "shouting": (
        named("shouting", "formats", ".NPZ", "Npz"),
        METADATA,
        {"test_everything_loads[formats]", "test_formats"},
    ),
    "broken": ({"_plugin.py": "raise RuntimeError('boom')", "py.typed": ""}, METADATA, {LIGHT, *UNLOADED}),
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The tests that fail, by distribution, with all of them installed."""
    site, suite = tmp_path_factory.mktemp("site"), ["from mocha_core.testing import PluginTests"]
    for package, (files, metadata, _) in DISTRIBUTIONS.items():
        (site / package).mkdir()
        for name, text in ({"__init__.py": ""} | files).items():
            (site / package / name).write_text(text)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {package}\nVersion: 1.0\n{metadata}")
        (info / "entry_points.txt").write_text(f"[mocha]\n{package} = {package}._plugin\n")
        suite.append(f"class Test_{package}(PluginTests): distribution = '{package}'")
    (site / "test_suite.py").write_text("\n".join(suite))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rf",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        site,
        site / "test_suite.py",
    ]
    environment = os.environ | {"PYTHONPATH": str(site), "MOCHA_STRICT_PLUGINS": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=site, check=False, timeout=300)
    found = re.findall(r"^FAILED test_suite.py::Test_(\w+)::(\S+)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {package: {test for owner, test in found if owner == package} for package in DISTRIBUTIONS}


@pytest.mark.parametrize("package", DISTRIBUTIONS)
def test_the_right_tests_fail(package, failed):
    assert failed[package] == DISTRIBUTIONS[package][2]


def test_a_distribution_that_is_not_installed():
    class Suite(PluginTests):
        distribution = "acme-nowhere"

    with pytest.raises(AssertionError, match="pip install -e"):
        Suite().test_it_loads()


def test_which_distribution_has_to_be_said():
    with pytest.raises(ConfigurationError, match="distribution = 'acme-layers'"):

        class TestNothing(PluginTests):
            pass
