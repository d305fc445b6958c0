"""`Reader`: the only place that opens HDF5 files for reading."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import h5py  # type: ignore[import-untyped]

from mocha_core.api import FileError
from mocha_hdf5 import trees
from mocha_hdf5.bands import Bands
from mocha_hdf5.contents import Contents, Stream
from mocha_hdf5.failures import failures
from mocha_hdf5.table import Table

SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: The maximum number of names in a listing. Mocha's files have fewer.
MOST_NAMES = 10_000
#: The maximum depth of groups in groups.
MOST_DEEP = 16


class Reader:
    """An HDF5 file opened for reading: numeric datasets that are inside the file, and nothing else.

    The HDF5 library parses the structure. It reads through `contents`, so that it opens no file, and it neither
    reads nor decompresses what datasets hold: `Table` does.

    Args:
        contents: the file's bytes; `close` closes them, too.

    Raises:
        FileError: it is no HDF5 file, or damaged.
    """

    def __init__(self, contents: Contents) -> None:
        self.path = contents.path
        self._contents = contents
        contents.base = _find_signature(contents)
        trees.check_superblock(contents)
        self._stream = Stream(contents)
        with failures(f"'{self.path}': cannot be opened"):
            self._file = h5py.File(self._stream, "r", rdcc_nbytes=0)

    def names(self) -> list[str]:
        """The datasets, those in groups as `group/name`; links are not followed."""
        found: list[str] = []
        self._contents.check_open()
        with failures(f"'{self.path}': cannot be listed"):
            self._walk(self._file.id, [], found, {_address(self._file.id)})
        return found

    def _walk(self, place: Any, path: list[str], found: list[str], seen: set[Hashable]) -> None:
        keys: list[bytes] = []

        def visit(key: bytes) -> bool | None:
            keys.append(key)
            return True if len(keys) > MOST_NAMES else None

        place.links.iterate(visit)
        for key in keys:
            if place.links.get_info(key).type != h5py.h5l.TYPE_HARD or len(found) >= MOST_NAMES:
                continue
            below, kind = [*path, key.decode("utf-8", "surrogateescape")], h5py.h5g.get_objinfo(place, key).type
            if kind == h5py.h5g.DATASET:
                found.append("/".join(below))
            elif kind == h5py.h5g.GROUP and len(below) <= MOST_DEEP:
                group = h5py.h5g.open(place, key)
                if (address := _address(group)) not in seen:
                    seen.add(address)
                    self._walk(group, below, found, seen)

    def table(self, name: str, bands: Bands | None = None) -> Table:
        """A dataset; nothing of it is read yet.

        Args:
            name: its path in the file.
            bands: where decompressed chunks are kept; by default the dataset has its own.

        Raises:
            KeyError: there is none of this name.
            FileError: it is not numeric, or not in this file.
        """
        self._contents.check_open()
        with failures(f"'{self.path}', dataset '{name}' cannot be opened"):
            if (dataset := self._open(name)) is not None:
                return Table(self._contents, self._stream, name, dataset, bands)
        raise KeyError(name)

    def _open(self, name: str) -> Any:
        """The dataset of that path; None if there is nothing."""
        place, parts = self._file.id, name.split("/")
        for depth, part in enumerate(parts, start=1):
            key, last = part.encode("utf-8", "surrogateescape"), depth == len(parts)
            if part in ("", ".") or "\0" in part or not place.links.exists(key):
                return None
            link = place.links.get_info(key).type
            if link != h5py.h5l.TYPE_HARD:
                raise self._unexpected(parts[:depth], _named(link), "no link")
            found, wanted = h5py.h5g.get_objinfo(place, key).type, h5py.h5g.DATASET if last else h5py.h5g.GROUP
            if found != wanted:
                raise self._unexpected(parts[:depth], _OBJECTS.get(found, "something"), _OBJECTS[wanted])
            place = h5py.h5d.open(place, key) if last else h5py.h5g.open(place, key)
        return place

    def _unexpected(self, parts: list[str], found: str, expected: str) -> FileError:
        return FileError(
            f"'{self.path}': expected {expected} at '{'/'.join(parts)}', found {found}. Only numbers that are inside "
            "the file are read: copy them to that place."
        )

    def is_group(self, name: str) -> bool:
        """Whether the file's first level has a group of that name."""
        with failures(f"'{self.path}': cannot be listed"):
            place, key = self._file.id, name.encode()
            return bool(
                place.links.exists(key)
                and place.links.get_info(key).type == h5py.h5l.TYPE_HARD
                and h5py.h5g.get_objinfo(place, key).type == h5py.h5g.GROUP
            )

    def release_library(self) -> None:
        """End the HDF5 library's part: tables that need it cannot be read any more, the others can."""
        self._file.close()

    def close(self) -> None:
        """Close the file; its tables cannot be read any more."""
        self._file.close()
        self._contents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _named(link: int) -> str:
    kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
    return kinds.get(link, "a link of an unknown kind")


def _address(group: Any) -> Hashable:
    """What tells groups apart. `h5o.get_info` would also add up the sizes of all indexes."""
    info = h5py.h5g.get_objinfo(group, b".")
    return tuple(info.objno) if isinstance(info.objno, tuple) else info.objno


_OBJECTS = {h5py.h5g.GROUP: "a group", h5py.h5g.DATASET: "a dataset", h5py.h5g.TYPE: "a committed datatype"}


class Tables(Mapping[str, Table]):
    """Datasets of an open file, by name. Each is opened when it is looked up.

    Args:
        reader: the file.
        group: where they are; `group/` comes before their names.
        names: theirs; by default what the file has.
    """

    def __init__(self, reader: Reader, group: str = "", names: list[str] | None = None) -> None:
        self._reader = reader
        self._group = group
        self._names = names

    def __getitem__(self, name: str) -> Table:
        try:
            return self._reader.table(self._group + name)
        except KeyError:
            if self._names is None or name not in self._names:
                raise
            raise FileError(
                f"'{self._reader.path}' has no dataset '{self._group}{name}', but lists it. Write it again."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __contains__(self, name: object) -> bool:
        return name in self._listed()

    def __len__(self) -> int:
        return len(self._listed())

    def _listed(self) -> list[str]:
        if self._names is None:
            self._names = self._reader.names()
        return self._names


def is_hdf5(contents: Contents) -> bool:
    """Whether a file has the signature of HDF5."""
    return _signature_at(contents) is not None


def _find_signature(contents: Contents) -> int:
    if (offset := _signature_at(contents)) is None:
        raise FileError(f"'{contents.path}' is not an HDF5 file. Name an HDF5 file, or get this one again.")
    return offset


def _signature_at(contents: Contents) -> int | None:
    """Where HDF5 finds its signature, which it looks for at 0, 512, 1024, 2048, ..."""
    offset = 0
    while offset + len(SIGNATURE) <= contents.size:
        if contents.read(offset, len(SIGNATURE)) == SIGNATURE:
            return offset
        offset = max(512, offset * 2)
    return None
