"""HDF5 for Mocha: data layers, networks and snapshots."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocha_hdf5.data_layer import HDF5DataLayer as HDF5DataLayer
    from mocha_hdf5.format import HDF5Format as HDF5Format

_MODULES = {"HDF5DataLayer": "data_layer", "HDF5Format": "format"}

__all__ = ["HDF5DataLayer", "HDF5Format"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mocha_hdf5' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_hdf5.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
