"""What `mocha data` expects of a data set."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from mocha_core.api import FileError, absolute


class Dataset(ABC):
    """A data set whose original files can be converted; registered with `mocha_register_datasets`."""

    description: ClassVar[str]
    """One line: how many samples of what."""

    origin: ClassVar[str]
    """Where the original files can be had, and which ones."""

    @abstractmethod
    def convert(self, source: Path | None, target: Path, force: bool = False) -> list[Path]:
        """Convert the original files in the folder `source` to HDF5 files in the folder `target`.

        `source=None` asks for what the distribution itself carries. Nothing is written unless everything was
        read; existing files are replaced only with `force`. Returns the files written.

        Raises `FileError` for a missing or malformed file and for a target that cannot be written or exists,
        `DataError` for contents that make no sense.
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
