"""`Blob`: a named tensor of a net, as Python sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from mocha_core import checks
from mocha_core.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mocha_core.net.net import Net


Item = TypeVar("Item")


class Blob:
    """A window on one top of a net: what the program that ran last left in it."""

    def __init__(self, net: Net, name: str) -> None:
        self.net = net
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """N first, in the minibatches that the net trains with."""
        return self.net.plan.blobs[self.name].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        import numpy as np

        return np.dtype(self.net.plan.blobs[self.name].dtype)

    def numpy(self) -> NDArray[Any]:
        """A copy in N,C,H,W order.

        Raises:
            StateError: nothing ran yet, or the program removed the blob; says how to keep it.
        """
        program = self.net.last_program()
        return program.read(program.plan.blobs[self.name], self.name)

    def set(self, array: Any) -> None:
        """Overwrite the contents, such as before `net.backward()`.

        Raises:
            ShapeError: the array has another shape than the blob.
            StateError: the program that ran last has no such blob, or used its memory again.
        """
        program = self.net.last_program()
        value = program.plan.blobs[self.name]
        array = checks.numbers(f"Blob '{self.name}'", array)
        if array.shape != value.shape:
            raise ShapeError(f"Blob '{self.name}': expected an array of shape {value.shape}, received {array.shape}.")
        program.check_present(value, self.name)
        program.write(value, array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.numpy().__dlpack_device__()

    def __repr__(self) -> str:
        return f"<Blob {self.name}: {self.dtype}{list(self.shape)}>"


class Named(dict[str, Item]):
    """A dict whose misses say what there is: `net.blobs["typo"]`."""

    def __init__(self, owner: str, kind: str, items: Mapping[str, Item]) -> None:
        super().__init__(items)
        self._owner = owner, kind

    def __missing__(self, name: str) -> Item:
        checks.known(*self._owner, name, self)
        raise KeyError(name)
