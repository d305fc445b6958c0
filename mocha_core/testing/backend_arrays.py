"""`ArrayTests`: what a backend has to do with arrays; a part of `BackendTests`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mocha_core.compile.backend import Backend
from mocha_core.errors import ConfigurationError
from mocha_core.graph.array_api import DTYPES
from mocha_core.graph.random import uniform
from mocha_core.testing.array_cases import USES, evaluate, operands
from mocha_core.testing.backends import AnyBackend, check_namespace, open_any
from mocha_core.testing.conformance import Conformance
from mocha_core.testing.tolerances import assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shapes of arrays that go to the backend and back.
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (3, 5), (2, 1, 4), (2, 3, 0), (2, 3, 2, 2))


class ArrayTests(Conformance):
    """A backend's name, its arrays and its `xp`, compared with NumPy. `BackendTests` has them."""

    backend: ClassVar[AnyBackend] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.backend is None and cls.__name__.startswith("Test"):
            raise ConfigurationError(f"{cls.__name__}: say which backend it tests, such as backend = 'cpu'.")

    def arguments(self) -> dict[str, list[Any]]:
        return super().arguments() | {
            "uses": list(USES),
            "shape": [pytest.param(shape, id="x".join(map(str, shape)) or "scalar") for shape in SHAPES],
            "array_dtype": list(DTYPES),
        }

    @contextmanager
    def opened(self) -> Iterator[Backend]:
        """The backend, closed afterwards."""
        backend = open_any(type(self).backend)
        try:
            yield backend
        finally:
            backend.close()

    def test_name(self) -> None:
        with self.opened() as backend:
            assert isinstance(backend, Backend)
            assert isinstance(backend.name, str)
            assert backend.name
            assert backend.families()[0] == backend.name, "each backend class needs a name of its own"

    def test_namespace_is_complete(self) -> None:
        with self.opened() as backend:
            check_namespace(backend.xp, f"backend '{backend.name}'")

    def test_namespace(self, uses: str, dtype: str) -> None:
        with self.opened() as backend:
            arrays = {name: placed(backend, array) for name, array in operands(dtype).items()}
            for number, use in enumerate(USES[uses]):
                with backend.running():
                    found = evaluate(use, backend.xp, arrays)
                expected = evaluate(use, np, operands(dtype))
                for result, wanted in zip(found, map(np.asarray, expected), strict=True):
                    what, array = f"use {number} of {uses}", backend.to_numpy(result)
                    if array.dtype != wanted.dtype:
                        raise AssertionError(f"{what}: expected dtype {wanted.dtype}, received {array.dtype}.")
                    special = ~np.isfinite(wanted)
                    np.testing.assert_array_equal(array[special], wanted[special], err_msg=what)
                    tolerance = self.tolerances.get(str(wanted.dtype), 0.0)
                    assert_close(what, np.where(special, 0, array), np.where(special, 0, wanted), tolerance)

    def test_operands_are_left_alone(self, dtype: str) -> None:
        with self.opened() as backend:
            arrays = {name: placed(backend, array) for name, array in operands(dtype).items()}
            with backend.running():
                for uses in USES.values():
                    for use in uses:
                        evaluate(use, backend.xp, arrays)
            for name, array in operands(dtype).items():
                np.testing.assert_array_equal(backend.to_numpy(arrays[name]), array, err_msg=name)

    def test_round_trip(self, shape: tuple[int, ...], array_dtype: str) -> None:
        with self.opened() as backend:
            array = whole_numbers(shape).astype(array_dtype)
            buffer = placed(backend, array)
            assert tuple(buffer.shape) == shape
            found = backend.to_numpy(buffer)
            assert isinstance(found, np.ndarray)
            assert (found.dtype, found.shape) == (array.dtype, shape)
            np.testing.assert_array_equal(found, array)

    def test_extreme_values(self, array_dtype: str) -> None:
        kind = np.dtype(array_dtype)
        array = np.array([False, True])
        if kind.kind in "iu":
            array = np.array([np.iinfo(kind).min, 0, np.iinfo(kind).max], kind)
        elif kind.kind == "f":
            limits = np.finfo(kind)
            array = np.array([np.inf, -np.inf, np.nan, -0.0, limits.max, limits.tiny, limits.eps], kind)
        with self.opened() as backend:
            assert backend.to_numpy(placed(backend, array)).tobytes() == array.tobytes()

    def test_slices_of_an_arena_share_its_memory(self, array_dtype: str) -> None:
        zero, one = np.array([0, 1], array_dtype).tolist()
        with self.opened() as backend:
            arena = backend.empty((24,), array_dtype)
            arena[...] = zero
            blob = backend.xp.reshape(arena[4:16], (3, 4))
            expected, values = np.zeros(24, array_dtype), whole_numbers((3, 4)).astype(array_dtype)
            expected[4:16] = values.ravel()
            backend.copy_from_numpy(blob, values)
            np.testing.assert_array_equal(backend.to_numpy(arena), expected)
            backend.xp.reshape(arena[16:17], ())[...] = one
            expected[16] = 1
            np.testing.assert_array_equal(backend.to_numpy(arena), expected)
            arena[...] = one
            np.testing.assert_array_equal(backend.to_numpy(blob), np.ones((3, 4), array_dtype))

    def test_what_comes_to_the_host_is_a_copy(self, shape: tuple[int, ...], dtype: str) -> None:
        with self.opened() as backend:
            array = whole_numbers(shape).astype(dtype)
            buffer = placed(backend, array)
            found = backend.to_numpy(buffer)
            buffer[...] = -1
            np.testing.assert_array_equal(found, array)
            if found.flags.writeable:
                found[...] = -2
            np.testing.assert_array_equal(backend.to_numpy(buffer), np.full(shape, -1, dtype))

    def test_what_comes_from_the_host_is_a_copy(self, dtype: str) -> None:
        with self.opened() as backend:
            array = np.ones((3, 4), dtype)
            buffer = placed(backend, array)
            array[...] = 2
            np.testing.assert_array_equal(backend.to_numpy(buffer), np.ones((3, 4), dtype))

    def test_copying_casts(self, array_dtype: str) -> None:
        with self.opened() as backend:
            for source in (*DTYPES, "int8", "uint8", "int16", "float16"):
                for shape in ((), (2, 3)):
                    array = whole_numbers(shape, high=2).astype(source)
                    buffer = backend.empty(shape, array_dtype)
                    backend.copy_from_numpy(buffer, array)
                    np.testing.assert_array_equal(backend.to_numpy(buffer), array.astype(array_dtype), err_msg=source)

    def test_copying_takes_arrays_of_any_layout(self, dtype: str) -> None:
        base = np.arange(24.0).reshape(4, 6)
        sources = {
            "Fortran order": np.asfortranarray(base),
            "transposed": base.T,
            "every second": base[::2, 1::2],
            "backwards": base[::-1, ::-1],
            "repeated": np.broadcast_to(base[0], (3, 6)),
            "big-endian": base.astype(">f8"),
            "little-endian": base.astype("<f4"),
            "unaligned": np.frombuffer(b"\0" + base.tobytes(), np.uint8)[1:].view(np.float64).reshape(4, 6),
        }
        read_only = base.copy()
        read_only.flags.writeable = False
        with self.opened() as backend:
            for name, source in (sources | {"read-only": read_only}).items():
                buffer = backend.empty(source.shape, dtype)
                backend.copy_from_numpy(buffer, source)
                np.testing.assert_array_equal(backend.to_numpy(buffer), source.astype(dtype), err_msg=name)

    def test_random_numbers_are_the_cores_bit_for_bit(self) -> None:
        iteration, first_row = np.asarray(2**31 - 1, np.int64), np.asarray(192, np.int64)
        with self.opened() as backend:
            cells = placed(backend, iteration), placed(backend, first_row)
            with backend.running():
                found = uniform(backend.xp, 2**64 - 1, 2**32 - 1, cells[0], cells[1], 33, 17)
            expected = uniform(np, 2**64 - 1, 2**32 - 1, iteration, first_row, 33, 17)
            assert backend.to_numpy(found).tobytes() == expected.tobytes()


def whole_numbers(shape: tuple[int, ...], high: int = 100) -> NDArray[Any]:
    """Numbers that every dtype can hold."""
    return np.random.default_rng(1).integers(0, high, shape)


def placed(backend: Backend, array: NDArray[Any]) -> Any:
    """An array on the backend."""
    buffer = backend.empty(array.shape, str(array.dtype))
    backend.copy_from_numpy(buffer, array)
    return buffer
