"""`Blob`: a named tensor of a net, as Python sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mocha_core import checks
from mocha_core.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mocha_core.net import Net


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
        import numpy as np

        program = self.net.last_program()
        value = program.plan.blobs[self.name]
        array = np.asarray(array)
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


class Blobs(Mapping[str, Blob]):
    """The blobs of a net by name."""

    def __init__(self, net: Net) -> None:
        self._net = net

    def __getitem__(self, name: str) -> Blob:
        checks.known(self._net.label, "blob", name, self._net.plan.blobs)
        return Blob(self._net, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._net.plan.blobs)

    def __len__(self) -> int:
        return len(self._net.plan.blobs)
