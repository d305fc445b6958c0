"""Writes the stubs of the namespaces (`mocha_core/layers.pyi`, ...) from what the plugins here register.

    python tools/make_stubs.py

Type checkers read them to know `layers.ConvolutionLayer`; when a name is missing at run time, the core reads
them to say which first-party distribution has it. Needs all first-party distributions to be installed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from mocha_core.plugin.manager import PluginManager
from mocha_core.plugin.registry import Registry

ROOT = Path(__file__).parents[1]
NAMESPACES = (
    "backends", "coffee", "constraints", "initializers", "layers", "neurons", "regularizers", "solvers",
    "transformers",
)  # fmt: skip


def first_party() -> set[str]:
    """The names of the distributions in this tree."""
    files = ROOT.glob("plugins/*/pyproject.toml")
    return {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in files}


def stub(registry: Registry, kind: str, distributions: set[str]) -> str:
    """The text of one stub: a line for each name that one of the distributions registers."""
    lines = []
    for entry in registry:
        if entry.plugin in distributions:
            module, attribute = entry.target.split(":")
            lines.append(f"from {module} import {attribute} as {entry.name}\n")
    header = f'"""{kind.capitalize()} of the first-party plugins; written by tools/make_stubs.py."""\n'
    return header + ("\n" + "".join(sorted(lines)) if lines else "")


def stubs() -> dict[Path, str]:
    """What each stub file should hold."""
    # Not the shared manager: its registries hold objects instead of import strings once something was used.
    manager = PluginManager()
    manager.load()
    distributions = first_party()
    registries = manager.registries.all()
    return {ROOT / "mocha_core" / f"{k}.pyi": stub(registries[k], k, distributions) for k in NAMESPACES}


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8")
