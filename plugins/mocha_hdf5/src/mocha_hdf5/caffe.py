"""Recognises networks that Caffe itself saved as HDF5; the error says how to convert them."""

from __future__ import annotations

import re
from pathlib import Path

from mocha_core.api import FileError
from mocha_hdf5.reader import Reader

#: `data/conv1/0` is the weight of layer `conv1`, `data/conv1/1` its bias.
_BLOB = re.compile(r"data/.+/\d+")

CONVERSION = """\
import h5py
with h5py.File("{source}") as caffe, h5py.File("net.h5", "w") as mocha:
    def copy(name, blob):
        if isinstance(blob, h5py.Dataset):
            layer, _, number = name.rpartition("/")
            layer = layer.replace("/", "-")
            weight = "filter" if blob.ndim == 4 else "weight"
            mocha[f"{{layer}}___{{(weight, 'bias')[int(number)]}}"] = blob[()]
    caffe["data"].visititems(copy)
"""


def check_not_caffe(path: Path, reader: Reader) -> None:
    """Raise `FileError` if a file has the layout of Caffe's own snapshots, which has other names than Mocha's."""
    if reader.is_group("data") and any(_BLOB.fullmatch(name) for name in reader.names()):
        raise FileError(
            f"'{path}' has Caffe's layout: data/conv1/0 for the weights of layer 'conv1', data/conv1/1 for its bias; "
            "expected conv1___filter, or ip1___weight, and conv1___bias. Convert it with this script, for layers that "
            "have a weight and a bias ('a/b' becomes 'a-b'), and load 'net.h5':\n\n" + CONVERSION.format(source=path)
        )
