"""`Packed`: numbers whose bytes in the file are not those of NumPy, but which h5py reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py  # type: ignore[import-untyped]
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Packed(NamedTuple):
    """How numbers are packed into elements of a file.

    Attributes:
        stored: the unsigned integers that have the bytes of the file.
        dtype: the dtype of the numbers.
        unpack: the numbers in such integers.
        pack: the integer for a number.
    """

    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    unpack: Callable[[NDArray[Any]], NDArray[Any]]
    pack: Callable[[NDArray[Any]], NDArray[Any]]


def packed(stored: Any) -> Packed | None:
    """The form of the elements of an HDF5 type, if it is an integer with spare bits or a bfloat16."""
    size, order = stored.get_size(), stored.get_order()
    if size not in (1, 2, 4, 8) or order not in (h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE):
        return None
    raw = np.dtype(f"{'>' if order == h5py.h5t.ORDER_BE else '<'}u{size}")
    if stored.get_class() == h5py.h5t.INTEGER:
        return _integer(raw, stored.get_precision(), stored.get_offset(), stored.get_sign() == h5py.h5t.SGN_2)
    if stored.get_class() == h5py.h5t.FLOAT and any(stored.equal(one) for one in _bfloat16s()):
        return _BFLOAT16._replace(stored=raw)
    return None


def _integer(raw: np.dtype[Any], precision: int, offset: int, signed: bool) -> Packed | None:
    """An integer of `precision` bits, from bit `offset` on; the other bits mean nothing."""
    bits = 8 * raw.itemsize
    if not 0 < precision <= precision + offset <= bits:
        return None
    whole = raw.newbyteorder("=")
    dtype = np.dtype(f"i{raw.itemsize}") if signed else whole

    def unpack(elements: NDArray[Any]) -> NDArray[Any]:
        highest: NDArray[Any] = elements.astype(whole) << whole.type(bits - precision - offset)
        numbers: NDArray[Any] = highest.view(dtype) >> dtype.type(bits - precision)
        return numbers

    def pack(number: NDArray[Any]) -> NDArray[Any]:
        highest: NDArray[Any] = number.astype(dtype).view(whole) << whole.type(bits - precision)
        elements: NDArray[Any] = (highest >> whole.type(bits - precision - offset)).astype(raw)
        return elements

    return Packed(raw, dtype, unpack, pack)


def _bfloat16s() -> list[Any]:
    """The types of bfloat16, the upper half of a float32, in both orders of bytes."""
    found = []
    for order in (h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE):
        one = h5py.h5t.IEEE_F32LE.copy()
        one.set_fields(15, 7, 8, 0, 7)
        one.set_size(2)
        one.set_ebias(127)
        one.set_order(order)
        found.append(one)
    return found


_BFLOAT16 = Packed(
    np.dtype("u2"),
    np.dtype("f4"),
    lambda elements: (elements.astype("u4") << np.uint32(16)).view("f4"),
    lambda number: (number.astype("f4").view("u4") >> np.uint32(16)).astype("u2"),
)
