"""`System`: a backend, and the parameters and states that live on it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from inspect import signature
from threading import RLock
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from mocha_core import checks, suggestions
from mocha_core.compile.backend import Backend
from mocha_core.compile.budget import allocating
from mocha_core.compile.storage import Storage
from mocha_core.describe.parameter import State
from mocha_core.errors import ArgumentError, BackendError, ConfigurationError, StateError
from mocha_core.graph.value import Value
from mocha_core.host import forks
from mocha_core.plugin.construction import Constructed, Settled
from mocha_core.plugin.frozen import without_metadata
from mocha_core.plugin.manager import plugin_manager, registries
from mocha_core.plugin.registry import Registry, import_string

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from mocha_core.describe.layer import Layer

DTYPES = ("float32", "float64")


class Used(Protocol):
    """What one thread at a time uses."""

    def using(self) -> AbstractContextManager[None]:
        """Entered by the thread; raises `StateError` where another one is in it."""


class Resident(Protocol):
    """A net, as far as its system knows it."""

    @property
    def runs(self) -> Used:
        """What runs it."""

    def destroy(self) -> None:
        """Release all that it holds of the system."""


class System(Settled, metaclass=Constructed):
    """Opens a backend and owns what its nets share. Use it as a context manager.

    Args:
        backend: a registered name, None for the best one available (MOCHA_BACKEND overrides), or a `Backend`, which
            is not changed, and not closed with the system.
        dtype: "float32" or "float64", for everything.
        seed: decides initial parameters, dropout and shuffling.
        prefer: for an op, by name, the plugin to choose among kernels of equal priority.
        options: options of the backend, such as `threads=2`.

    Raises:
        BackendError: the backend is unknown or not available, and why.
        ConfigurationError: another argument makes no sense.
    """

    _way_out = "What a system is told is given when it is made: mocha.System('cpu', dtype=..., seed=...)."
    _reports = frozenset({"backend", "dtype", "seed"})

    def __init__(
        self,
        backend: str | Backend | None = None,
        *,
        dtype: DTypeLike = "float32",
        seed: int = 0,
        prefer: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, np.floating)):
            dtype = np.dtype(dtype).name
        if type(dtype) is not str or dtype not in DTYPES:
            raise ConfigurationError(f"System: expected dtype to be one of {DTYPES}, received {checks.shown(dtype)}.")
        self.dtype: str = dtype
        self.seed = checks.integer("System", "seed", seed, at_least=0)
        if isinstance(backend, Backend) and options:
            raise ConfigurationError(
                f"System: the options {', '.join(options)} are for a backend given by name. Give them to the "
                f"constructor {type(backend).__name__}(...)."
            )
        self.closes_backend = not isinstance(backend, Backend)
        """Whether this system opened the backend, so that `close` closes it."""
        self.backend: Backend = backend if isinstance(backend, Backend) else open_backend(backend, options)
        if prefer is not None:
            self.backend = self.backend.preferring(_preferences(prefer))
        self.storage = Storage(self.backend)
        self._building, self._compiling = RLock(), RLock()
        self._own: WeakKeyDictionary[Layer, dict[str, State]] = WeakKeyDictionary()
        self._tied: dict[str, dict[str, State]] = {}
        self._namesakes: Counter[str] = Counter()
        self.nets: WeakSet[Resident] = WeakSet()
        """The nets that were built here and are still in use."""
        self.closed = False
        forks.renew_in_child(self)

    def renew_locks(self) -> None:
        self._building, self._compiling = forks.renewed(self._building), forks.renewed(self._compiling)

    def states_of(self, layer: Layer) -> dict[str, State]:
        """Parameters and states of a layer by name: its own, which live as long as the layer object, or those of its
        `param_key`, which live as long as the system.
        """
        key = getattr(layer, "param_key", "")
        return self._tied.setdefault(key, {}) if key else self._own.setdefault(layer, {})

    def number(self, layer: Layer) -> int:
        """How many other layers of this name, with their own parameters, the system had before this one."""
        group = self.states_of(layer)
        if group:
            return next(iter(group.values())).number
        self._namesakes[layer.name] += 1
        return self._namesakes[layer.name] - 1

    def forget(self, layer: Layer, states: Collection[State]) -> None:
        """Remove these states of a layer, because its net could not be built."""
        group = self.states_of(layer)
        for name in [name for name, state in group.items() if state in states]:
            del group[name]
            if not group:
                self._namesakes[layer.name] -= 1

    def building(self) -> AbstractContextManager[object]:
        """A net enters this while it is built. Nets are built one at a time, because they may share layers."""
        return self._building

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Recording and compiling of a plan enter this."""
        with self.storage.gate.shared(), self._compiling:
            yield

    def read(self, value: Value) -> NDArray[Any]:
        """A copy of a persistent value on the host."""
        self.check_open()
        with (
            self.storage.gate.shared(),
            allocating("A copy on the host", [(value.name, value.spec)], "Use smaller layers."),
        ):
            return np.array(self.backend.to_numpy(self.storage[value]))

    def write(self, value: Value, array: NDArray[Any]) -> None:
        """Overwrite a persistent value; packed copies will be packed again."""
        self.check_open()
        with self.storage.gate.exclusive(), self.storage.changing():
            self.backend.copy_from_numpy(self.storage[value], array)

    def check_open(self) -> None:
        """Raise `StateError` if the system was closed."""
        if self.closed:
            raise StateError("This System is closed. Use its nets inside `with mocha.System(...) as system:`.")

    def close(self) -> None:
        """Destroy the nets, and release the backend if its name was given. Parameters cannot be read afterwards.

        Predictions that other threads have begun are finished first.

        Raises:
            StateError: another thread trains, or runs a net in another way than by `predict`.
        """
        if not self.closed:
            with ExitStack() as unused:
                for net in list(self.nets):
                    unused.enter_context(net.runs.using())
                gate = self.storage.gate
                with nullcontext() if gate.half_changed else gate.exclusive():
                    self.closed = True
                for net in list(self.nets):
                    net.destroy()
            self._own.clear()
            self._tied.clear()
            if self.closes_backend:
                self.backend.close()

    def __repr__(self) -> str:
        closed = ", closed" if self.closed else ""
        return f"<System on '{self.backend.name}', {self.dtype}, seed {self.seed}: {len(self.nets)} nets{closed}>"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "A System cannot be copied or pickled: it is a device and its memory. Copy what a net learned, "
            "net.states.copy(), and load it into a net on another System, net.states.load(arrays)."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _preferences(prefer: Mapping[str, str]) -> Mapping[str, str]:
    """`prefer`, after a check that each plugin has kernels for its op."""
    checks.instance("System", "prefer", prefer, Mapping, "{'relu': 'acme-layers'}")
    serve: dict[str, set[str]] = {}
    for entry in (*registries().kernels, *registries().fusions):
        serve.setdefault(entry.name.split("/")[0], set()).add(entry.plugin)
    for op, plugin in prefer.items():
        if plugin not in serve.get(op, ()):
            near = suggestions.close(str(op), serve)
            way_out = f"Did you mean '{near}'?" if near else f"Ops with kernels: {checks.listed(sorted(serve))}."
            if op in serve:
                way_out = f"These have: {checks.listed(sorted(serve[op]))}."
            raise ConfigurationError(
                f"System: expected prefer to name a plugin with kernels for an op, received {checks.shown(plugin)} for "
                f"{checks.shown(op)}. {way_out}"
            )
    return prefer


def unavailable(name: str) -> str:
    """Why a registered backend cannot be used here; empty if it can."""
    probe = registries().backends.entry(name).options.get("available")
    if probe is None:
        return ""
    try:
        return str(import_string(probe, f"the probe of backend '{name}'")() or "")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def unknown_backend(name: str) -> str:
    """The error text for a backend that no plugin has registered."""
    known: Registry = registries().backends
    meant = suggestions.BACKENDS.get(name.lower(), name.lower())
    if meant == name and name not in suggestions.PACKAGES:
        return known.unknown(name)
    hint = f"Use '{meant}'." if meant in known.names() else _missing(meant)
    return f"No {known.kind} '{checks.clipped(name)}'. {hint} Registered: {checks.listed(known.names())}."


def _missing(backend: str) -> str:
    """Why a backend of this project is not registered, and what to do."""
    package = suggestions.PACKAGES.get(backend, f"mocha-{backend}")
    distribution = package.partition("[")[0]
    for record in plugin_manager().records:
        if record.distribution == distribution and record.status != "ok":
            return f"'{backend}' belongs to {record}, which is {record.status}. `mocha plugins` shows why."
    missing = without_metadata(distribution)
    return missing or f"'{backend}' is in a package that is not installed: pip install {package}."


def _wrong(options: Mapping[str, Any], error: TypeError) -> str:
    """The error text for options that neither `System` nor the backend has."""
    if not isinstance(error, ArgumentError):
        return f"{', '.join(options) or 'none'} ({error})."
    own = [name for name in signature(System).parameters if name != "options"]
    hints = (suggestions.field(name, own) for name in options)
    meant = [f"'{name}' is near to System's own '{hint}'" for name, hint in zip(options, hints, strict=True) if hint]
    return " ".join([f"{', '.join(options)}. {error}", *(f"{text}." for text in meant)])


def open_backend(name: str | None, options: Mapping[str, Any]) -> Backend:
    """An instance of a registered backend."""
    known, source = registries().backends, ""
    if name is not None:
        checks.instance("System", "backend", name, str, "'cpu'")
    else:
        name = os.environ.get("MOCHA_BACKEND") or None
        source = " The name is from MOCHA_BACKEND." if name else ""
    if name is None:
        best_first = sorted(known, key=lambda entry: -entry.priority)
        name = next((entry.name for entry in best_first if not unavailable(entry.name)), None)
    if name is None:
        raise BackendError(f"No backend is available. {without_metadata() or 'Install one: pip install mocha-cpu'}")
    if name not in known.names():
        raise BackendError(unknown_backend(name) + source)
    if reason := unavailable(name):
        raise BackendError(f"Backend '{name}' is not available: {reason}{source}")
    try:
        backend = known.get(name)(**options)
    except TypeError as error:
        raise ConfigurationError(f"Backend '{name}' does not take these options: {_wrong(options, error)}") from error
    if not isinstance(backend, Backend):
        raise BackendError(f"Backend '{name}' is not a mocha_core.api.Backend but a {type(backend)}.")
    return backend
