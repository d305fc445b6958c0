"""`Named`: items by name, such as blobs or feeds."""

from __future__ import annotations

from typing import TypeVar

from mocha_core import checks

Item = TypeVar("Item")


class Named(dict[str, Item]):
    """A dict whose error for an unknown name, as in `net.blobs["typo"]`, lists the names."""

    #: Whose items they are, and what they are called, for this error.
    _owner: tuple[str, str]

    def __getitem__(self, name: str) -> Item:
        try:
            return super().__getitem__(name)
        except TypeError:  # what cannot be hashed, such as a list
            return self.__missing__(name)

    def __missing__(self, name: str) -> Item:
        checks.known(*self._owner, name, self)
        raise KeyError(name)
