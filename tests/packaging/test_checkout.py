"""tools/checkout.py: every distribution of the tree is found where none is installed."""

import os
import runpy
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
main = runpy.run_path(str(ROOT / "tools" / "checkout.py"))["main"]
#: What the core needs.
NEEDED = ("numpy", "pluggy", "packaging")


def always_required(found):
    """Extras may refer to each other, which installers write out."""
    requirements = map(Requirement, found.requires)
    return {requirement for requirement in requirements if "extra" not in str(requirement.marker)}


def test_what_is_said_of_a_distribution_is_what_an_installer_says(tmp_path):
    main(tmp_path)
    described = {found.name: found for found in metadata.distributions(path=[str(tmp_path)])}
    assert len(described) == 1 + len(list(ROOT.glob("plugins/*/pyproject.toml")))
    for name, found in described.items():
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # such as mocha-cuda, whose tests have an environment of their own
            continue
        assert found.version == installed.version
        assert always_required(found) == always_required(installed)
        points = {(point.group, point.name, point.value) for point in found.entry_points}
        assert points == {(point.group, point.name, point.value) for point in installed.entry_points}


def test_all_plugins_are_found_without_an_installation(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for name in NEEDED:
        package = Path(import_module(name).__file__).parent
        for path in (package, package.parent / f"{name}.libs"):
            if path.exists():
                (site / path.name).symlink_to(path)
    path = os.pathsep.join([main(tmp_path / "checkout"), str(site)])
    environment = {**os.environ, "PYTHONPATH": path, "MOCHA_STRICT_PLUGINS": "1"}
    command = [sys.executable, "-S", "-m", "mocha_core.cli", "plugins"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = [path.parent.name.replace("_", "-") for path in ROOT.glob("plugins/*/pyproject.toml")]
    assert [name for name in names if f"{name} 0.1.0: ok" not in done.stdout] == []
