"""`Blob`: a named tensor of a net, as Python sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

from mocha_core import checks
from mocha_core.errors import ShapeError, StateError, UnknownNameError
from mocha_core.net.named import Item, Named
from mocha_core.plugin.construction import Settled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mocha_core.compile.program import Program
    from mocha_core.describe.parameter import State
    from mocha_core.net.runs import Runs


class Blob(Settled):
    """A window on one top of a net: what the program that ran last left in it."""

    _way_out = "Its contents are written by set(array)."
    _reports = frozenset({"name"})

    def __init__(self, runs: Runs, name: str) -> None:
        self._runs = runs
        self.name = name
        self._settled = True

    @property
    def shape(self) -> tuple[int, ...]:
        """N first, in the minibatches that the net trains with."""
        return self._runs.plan.blobs[self.name].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        import numpy as np

        return np.dtype(self._runs.plan.blobs[self.name].dtype)

    def numpy(self) -> NDArray[Any]:
        """A copy in N,C,H,W order.

        Raises:
            StateError: nothing ran yet, or the program removed the blob; says how to keep it.
        """
        with self._program() as program:
            return program.read(program.plan.blobs[self.name], self.name)

    def set(self, array: Any) -> None:
        """Overwrite the contents, such as before `net.backward()`.

        Raises:
            ShapeError: the array has another shape than the blob.
            StateError: the program that ran last has no such blob, or used its memory again.
        """
        with self._program() as program:
            value = program.plan.blobs[self.name]
            array = checks.numbers(f"Blob '{self.name}'", array)
            if array.shape != value.shape:
                raise ShapeError(
                    f"Blob '{self.name}': expected an array of shape {value.shape}, received {array.shape}."
                )
            program.check_present(value, self.name)
            program.write(value, array)

    @contextmanager
    def _program(self) -> Iterator[Program]:
        """The program that ran last, which does not run meanwhile."""
        with self._runs.using(), self._runs.system.storage.gate.shared():
            yield self._runs.last_program()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.numpy().__dlpack_device__()

    def __reduce__(self) -> NoReturn:
        raise StateError(
            f"Blob '{self.name}' cannot be copied or pickled: it is a window on net '{self._runs.name}'. Copy what is "
            f"in it: net.blobs['{self.name}'].numpy()."
        )

    def __repr__(self) -> str:
        return f"<Blob {self.name}: {self.dtype}{list(self.shape)}>"


class NamedItems(Named[Item]):
    """A dict whose items are attributes, too."""

    def __init__(self, owner: str, kind: str, items: Mapping[str, Item]) -> None:
        super().__init__(items)
        self._owner = owner, kind

    def __getattr__(self, name: str) -> Item:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "_owner":
            self._refuse(name)
        super().__setattr__(name, value)

    def _refuse(self, name: object = "...", *_: Any, **__: Any) -> NoReturn:
        owner, kind = self._owner
        raise StateError(
            f"{owner}: {kind} '{name}' cannot be replaced or removed here. Its contents are written by "
            "set(array), such as net.parameters['conv1']['bias'].set(array); those of all by net.states.load(arrays)."
        )

    __setitem__ = __delitem__ = __delattr__ = update = setdefault = pop = __ior__ = _refuse  # type: ignore[assignment]
    popitem = clear = _refuse

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self if name.isidentifier())]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class States(NamedItems[Item]):
    """Parameters and states by name, or groups of them by layer. Copies and pickles are plain dicts of arrays."""

    def copy(self) -> dict[str, Any]:
        """The contents as NumPy arrays, in dicts of the same names, all from the same moment between two iterations.

        `numpy.savez(file, **net.states.copy())` saves them.
        """
        live = _flat(self)
        with live[0].system.storage.gate.shared() if live else nullcontext():
            items: dict[str, Any] = dict(self)
            return {name: item.copy() if isinstance(item, States) else item.numpy() for name, item in items.items()}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Overwrite the contents with those that `copy` returned, of this net or of one with the same layers.

        All arrays are checked before anything is written.

        Raises:
            UnknownNameError: a name is missing or unknown.
            ShapeError: an array has another shape.
        """
        found = self._matched(arrays)
        with found[0][0].system.storage.gate.exclusive() if found else nullcontext():
            for state, array in found:
                state.set(array)

    def _matched(self, arrays: Mapping[str, Any]) -> list[tuple[State, Any]]:
        owner, kind = self._owner
        given = checks.instance(owner, "arrays", arrays, Mapping, "those of copy()")
        missing, extra = [n for n in self if n not in given], [n for n in given if n not in self]
        if missing or extra:
            raise UnknownNameError(
                f"{owner}: expected arrays for each {kind}, {checks.listed(self, 100)}. Of those received, "
                f"{checks.listed(missing, 100)} are missing, and {checks.listed(map(str, extra), 100)} "
                "are too many."
            )
        found: list[tuple[State, Any]] = []
        items: dict[str, Any] = dict(self)
        for name, item in items.items():
            found += item._matched(given[name]) if isinstance(item, States) else [(item, item.checked(given[name]))]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)


def _flat(states: Mapping[str, Any]) -> list[State]:
    return [state for item in states.values() for state in (_flat(item) if isinstance(item, States) else [item])]
