"""Makes the modules of this folder importable, and writes files for data layers."""

import sys
from pathlib import Path

import h5py
import pytest

import mocha_core as mocha
from mocha_core.layers import HDF5DataLayer
from mocha_core.testing.backends import ReferenceBackend

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes HDF5 files, each a dict of arrays, and returns the path of a list of them."""
    monkeypatch.chdir(tmp_path)

    def write(*files, **options):
        names = [f"part{number}.hdf5" for number in range(len(files))]
        for name, arrays in zip(names, files, strict=True):
            with h5py.File(name, "w") as file:
                for key, array in arrays.items():
                    file.create_dataset(key, data=array, **options)
        (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
        return tmp_path / "list.txt"

    return write


@pytest.fixture
def make_net():
    nets = []

    def make_net(seed=0, **options):
        layer = HDF5DataLayer(**({"name": "data"} | options))
        system = mocha.System(ReferenceBackend(), seed=seed, dtype="float64")
        nets.append(mocha.Net("n", system, [layer]))
        return nets[-1]

    yield make_net
    for net in nets:
        net.destroy()
