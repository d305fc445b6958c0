"""The registrations of this distribution. This module imports neither NumPy nor h5py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_layers(layers: Registry) -> None:
    layers.add("HDF5DataLayer", "mocha_hdf5.data_layer:HDF5DataLayer")


@hookimpl
def mocha_register_formats(formats: Registry) -> None:
    formats.add(".hdf5", "mocha_hdf5.format:HDF5Format")
    formats.add(".h5", "mocha_hdf5.format:HDF5Format")
