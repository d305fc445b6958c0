"""Mocha: deep learning for people who think in layers.

Importing this package imports neither NumPy nor any plugin; that happens when something is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocha_core import (
        backends,
        coffee,
        constraints,
        initializers,
        layers,
        neurons,
        regularizers,
        solvers,
        transformers,
    )
    from mocha_core.errors import MochaError
    from mocha_core.graph.plan import Phase
    from mocha_core.net.net import Net
    from mocha_core.net.system import System
    from mocha_core.plugin.hookspecs import hookimpl
    from mocha_core.train.formats import load_network, save_network
    from mocha_core.train.parameters import SolverParameters

    __version__: str

__all__ = [
    "MochaError", "Net", "Phase", "SolverParameters", "System", "__version__", "backends", "coffee",
    "constraints", "hookimpl", "initializers", "layers", "load_network", "neurons", "regularizers",
    "save_network", "solvers", "transformers",
]  # fmt: skip

#: Modules of the public names that are not sub-modules.
_HOMES = {"MochaError": "errors", "Net": "net.net", "Phase": "graph.plan", "SolverParameters": "train.parameters"}
_HOMES |= {"System": "net.system", "hookimpl": "plugin.hookspecs"}
_HOMES |= {"load_network": "train.formats", "save_network": "train.formats"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("mocha-core")
        except PackageNotFoundError:  # a frozen application without the core's metadata
            return "unknown"
    if name not in __all__:
        raise AttributeError(f"module 'mocha_core' has no attribute '{name}'{_elsewhere(name)}")
    if name not in _HOMES:
        return importlib.import_module(f"mocha_core.{name}")
    value = globals()[name] = getattr(importlib.import_module(f"mocha_core.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _elsewhere(name: str) -> str:
    """Where a class is that was looked for here. Other names are looked up by tools, for which no plugin is loaded."""
    if not name[:1].isupper():
        return ""
    from mocha_core.plugin.manager import registries
    from mocha_core.suggestions import elsewhere

    hint = elsewhere("layers", name, {kind: registry.names() for kind, registry in registries().all().items()})
    return f". {hint}" if hint else ""
