"""What installations take on the disk, with all they need, and the sizes of Mocha's wheels."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from argparse import Namespace
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.measure import say
from harness.remote import ROOT
from harness.tables import table

TREE = ROOT.parent
PLUGINS = ("layers_std", "cpu", "native", "solvers_std", "hdf5")
#: Megabytes.
LIMITS = {"mocha-cpu": 110}
WHEEL_LIMITS = {"mocha_native": 2.0}
EXPLAINED = "Mocha's wheels were built from this tree and installed into an empty folder. Compiled Python is included."


def run(options: Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        say("building wheels and installing them into a folder of their own")
        wheels, site = Path(folder, "wheels"), Path(folder, "site")
        sources = [str(TREE), *(str(TREE / "plugins" / f"mocha_{name}") for name in PLUGINS)]
        pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *sources)
        built = sorted(wheels.glob("*.whl"))
        pip("install", "--target", str(site), *map(str, built))
        sizes = {name: installed(name, [str(site)]) for name in ("mocha-cpu", "mocha-native")}
        rows = [[f"{file.stem.split('-')[0]}, wheel", megabytes(file.stat().st_size)] for file in built]
        rows = [[*row, WHEEL_LIMITS.get(row[0].split(",")[0], "")] for row in rows]
    sizes |= {name: installed(name, sys.path) for name in ("torch", "jax")}
    installs = [[f"pip install {n}", megabytes(size), LIMITS.get(n, "")] for n, size in sizes.items() if size]
    return f"# Sizes\n\n{table(['', 'MB', 'at most'], [*installs, *rows])}\n\n{EXPLAINED}\n"


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def installed(name: str, path: list[str]) -> int:
    """Bytes on the disk of a distribution and of all it requires; 0 where it is not installed."""
    return sum(size(distribution) for distribution in closure(name, path).values())


def closure(name: str, path: list[str]) -> dict[str, Distribution]:
    known = {canonicalize_name(d.metadata["Name"]): d for d in distributions(path=path)}
    found, waiting = {}, [Requirement(name)]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key in found or key not in known:
            continue
        found[key] = known[key]
        needed = map(Requirement, known[key].requires or [])
        waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def size(distribution: Distribution) -> int:
    """What its files take, in blocks of the disk."""
    files = {Path(str(distribution.locate_file(file))) for file in distribution.files or []}
    return sum(512 * file.stat().st_blocks for file in files if file.is_file())


def megabytes(number: float) -> str:
    return f"{number / 1e6:.2f}" if number < 1e7 else f"{number / 1e6:.0f}"
