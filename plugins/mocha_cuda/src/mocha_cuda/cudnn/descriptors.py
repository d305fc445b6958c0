"""`Descriptor`: one of cuDNN's backend descriptors. It is destroyed with its last reference."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from mocha_cuda.cudnn.constants import TYPES, Attribute, Kind, Type
from mocha_cuda.cudnn.library import Library

#: The C types of elements; all other types are enumerations.
C_TYPES: dict[Type, Any] = {
    Type.HANDLE: ctypes.c_void_p,
    Type.BOOLEAN: ctypes.c_bool,
    Type.INT64: ctypes.c_int64,
    Type.FLOAT: ctypes.c_float,
    Type.DOUBLE: ctypes.c_double,
    Type.VOID_PTR: ctypes.c_void_p,
    Type.BACKEND_DESCRIPTOR: ctypes.c_void_p,
    Type.INT32: ctypes.c_int32,
    Type.CHAR: ctypes.c_char,
}


class Descriptor:
    """A descriptor. Attributes are set before it is finalized, and read afterwards.

    Args:
        library: cuDNN.
        kind: the kind of the descriptor.
        attributes: the attributes to set before it is finalized. None leaves it open, to be finalized or filled later.

    Raises:
        CuDNNError: cuDNN refuses an attribute, or all of them together; the message names it.
    """

    def __init__(self, library: Library, kind: Kind, attributes: Mapping[Attribute, Any] | None = None) -> None:
        self.library = library
        self.kind = kind
        self.pointer = ctypes.c_void_p()
        self._parts: list[Descriptor] = []
        library.call("cudnnBackendCreateDescriptor", kind, ctypes.byref(self.pointer), what=kind.name)
        destroy = library.functions.cudnnBackendDestroyDescriptor
        # At the end of Python the library may be gone already, so do not destroy it then.
        weakref.finalize(self, destroy, self.pointer).atexit = False
        if attributes is not None:
            for attribute, value in attributes.items():
                self.set(attribute, value)
            self.finalized()

    def finalized(self) -> Descriptor:
        """Finalize and return this descriptor. Attributes cannot be set afterwards."""
        self.library.call("cudnnBackendFinalize", self.pointer, what=self.kind.name)
        return self

    def set(self, attribute: Attribute, value: Any, type: Type | None = None) -> None:
        """Set an attribute: an element, or a sequence of them.

        `type` is the type of the elements, for attributes that allow several.
        """
        type = TYPES[attribute] if type is None else type
        elements = list(value) if isinstance(value, Iterable) else [value]
        if type is Type.BACKEND_DESCRIPTOR:
            self._parts += elements  # cuDNN need not copy them
            elements = [part.pointer.value for part in elements]
        array = (C_TYPES.get(type, ctypes.c_int) * len(elements))(*elements)
        what = f"{self.kind.name}, {attribute.name}={value!r}"
        self.library.call("cudnnBackendSetAttribute", self.pointer, attribute, type, len(elements), array, what=what)

    def count(self, attribute: Attribute) -> int:
        """The number of elements of an attribute."""
        count = ctypes.c_int64()
        self._get(attribute, 0, count, None)
        return count.value

    def get(self, attribute: Attribute) -> list[Any]:
        """The elements of an attribute, unless they are descriptors (see `parts`)."""
        type, count = TYPES[attribute], ctypes.c_int64()
        room = self.count(attribute)
        array = (C_TYPES.get(type, ctypes.c_int) * room)()
        self._get(attribute, room, count, array)
        return list(array)[: count.value]

    def parts(self, attribute: Attribute, kind: Kind, most: int = 0) -> list[Descriptor]:
        """The elements of an attribute that are descriptors of one kind: at most the given number, or all of them.

        Some attributes do not tell their number of elements before they get an array for them.
        """
        found = [Descriptor(self.library, kind) for _ in range(most or self.count(attribute))]
        array, count = (ctypes.c_void_p * len(found))(*(part.pointer.value for part in found)), ctypes.c_int64()
        self._get(attribute, len(found), count, array)
        return found[: count.value]

    def _get(self, attribute: Attribute, room: int, count: ctypes.c_int64, array: Any) -> None:
        arguments = self.pointer, attribute, TYPES[attribute], room, ctypes.byref(count), array
        self.library.call("cudnnBackendGetAttribute", *arguments, what=f"{self.kind.name}, {attribute.name}")

    def __repr__(self) -> str:
        return f"<{self.kind.name}>"
