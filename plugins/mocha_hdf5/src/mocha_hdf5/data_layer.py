"""`HDF5DataLayer`: minibatches from HDF5 files."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import ClassVar

from mocha_core.api import ConfigurationError, DataLayer, checks
from mocha_hdf5.source import HDF5Source
from mocha_hdf5.source_list import read_source_list, working_directory


class HDF5DataLayer(DataLayer):
    """Minibatches from the HDF5 files that a text file lists, one path per line.

    Tops: one for each dataset, which has the top's name: (batch_size, ...). Datasets hold numbers, with samples
    along the first axis. Samples have the same shape in all files. A minibatch continues from one file to the
    next, and from the last to the first. A thread fetches minibatches in advance.

    Paths in the list are relative to the working directory if they exist there, else to the list's folder; `~` is the
    home folder. The working directory is that in which the layer was made, whatever it is when a net is built. A few of
    the files are open at a time.
    """

    source: str | PathLike[str]
    """The text file, or one HDF5 file."""
    shuffle: bool = False
    """Whether every epoch has its own order over all files. All data layers of a net have the same order."""

    _beside: ClassVar[Path]
    """The working directory in which the layer was made."""

    def check(self) -> None:
        super().check()
        if not isinstance(self.source, (str, PathLike)) or not str(self.source):
            raise ConfigurationError(
                f"{self}: expected source to be a text file that lists HDF5 files, or an HDF5 file, received "
                f"{checks.shown(self.source)}."
            )
        self.replace_field("_beside", working_directory())
        checks.instance(self, "shuffle", self.shuffle, bool, "True")
        if not self.tops:
            raise ConfigurationError(f"{self}: expected a top for each dataset to read, received none.")

    def open(self, seed: int) -> HDF5Source:
        return HDF5Source(read_source_list(self.source, self._beside), self.tops, seed if self.shuffle else None)
