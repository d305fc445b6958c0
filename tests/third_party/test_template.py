"""The plugin template, and what `mocha new-plugin` makes of it: installed, its own tests pass."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from third_parties import BROKEN, TEMPLATE, install

from mocha_core import cli


def run_tests(folder, path=""):
    """Run a plugin's tests as its author would; returns what pytest said."""
    switches = {"MOCHA_DISABLED_PLUGINS": ",".join(BROKEN), "MOCHA_STRICT_PLUGINS": "1", "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=folder, env=os.environ | switches, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_template_passes_its_own_tests(tmp_path):
    folder = shutil.copytree(TEMPLATE, tmp_path / "template")
    assert re.search(r"\d\d passed", run_tests(folder))


@pytest.mark.parametrize("name", ["brew", "umbrella-drip-2go"])
def test_a_new_plugins_tests_pass_at_once(tmp_path, name, capsys):
    assert cli.main(["new-plugin", name, "--to", str(tmp_path / "new")]) == 0
    folder, site = tmp_path / "new" / name, tmp_path / "site"
    assert f"cd {folder}" in capsys.readouterr().out
    install(folder, options=["--target", site])
    assert re.search(r"\d\d passed", run_tests(folder, site))
    listed = subprocess.run(
        [sys.executable, "-m", "mocha_core.cli", "plugins"],
        env=os.environ | {"PYTHONPATH": str(site)}, text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    layer, op = {"brew": ("Brew", "brew.brew"), "umbrella-drip-2go": ("UmbrellaDrip2go", "umbrella.drip_2go")}[name]
    assert f"{name} 0.1.0: ok\n    ops: {op}\n    layers: {layer}Layer\n" in listed
