"""`Dataset`: the base class of the data sets of `mocha data`."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from mocha_core.api import FileError, absolute


class Dataset(ABC):
    """A data set whose original files can be converted; registered with `mocha_register_datasets`."""

    description: ClassVar[str]
    """One line: how many samples of what."""

    origin: ClassVar[str]
    """The names of the original files, and where to get them."""

    @abstractmethod
    def convert(self, source: Path | None, target: Path, force: bool = False) -> list[Path]:
        """Convert the original files in the folder `source` to HDF5 files in the folder `target`.

        `source=None` converts the files inside the distribution. It reads everything before it writes anything,
        and replaces existing files only with `force`. Returns the written files.

        Raises `FileError` for a missing or malformed file and for a target that exists or cannot be written,
        `DataError` for invalid contents.
        """

    def require(self, source: Path | None) -> Path:
        """`source` if it is a folder; a `FileError` that says where to get the files otherwise."""
        if source is None:
            raise FileError(f"no copy inside Mocha: name the folder of the files with --from. {self.get_it}")
        folder = absolute(source)
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder. {self.get_it}")
        return folder

    @property
    def get_it(self) -> str:
        """The sentence that ends an error about a missing file."""
        return f"The original files: {self.origin}"
