"""Finds and loads plugins, each in isolation: a broken one is named and removed, and all others work."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, version
from itertools import groupby
from threading import RLock
from time import perf_counter
from types import SimpleNamespace
from typing import Any, ClassVar

import pluggy

from mocha_core.errors import PluginError
from mocha_core.log import warn
from mocha_core.plugin import hookspecs
from mocha_core.plugin.registry import Candidates, Registry

GROUP = "mocha"
#: Seconds; a slower import gives a complaint. A plugin that only registers import strings takes milliseconds, and on a
#: busy machine a second or two.
SLOW = 5.0


class Registries(SimpleNamespace):
    """All registries, as attributes with the names in the hooks: `layers`, `ops`, `kernels`, ..., and added kinds."""

    KINDS: ClassVar = {
        "backends": "backend", "ops": "op", "layers": "layer", "neurons": "neuron",
        "initializers": "initializer", "regularizers": "regularizer", "constraints": "constraint",
        "transformers": "transformer", "solvers": "solver", "coffee": "coffee break", "formats": "format",
        "commands": "command", "kinds": "kind of registrations",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__(**{name: Registry(kind) for name, kind in self.KINDS.items()})
        self.kernels = Candidates("kernel")
        self.fusions = Candidates("fusion")

    def all(self) -> dict[str, Registry]:
        return vars(self)

    def attribute_to(self, plugin: str) -> None:
        for registry in self.all().values():
            registry.plugin = plugin

    def drop(self, plugin: str) -> None:
        for registry in self.all().values():
            registry.drop(plugin)


@dataclass
class PluginRecord:
    """An entry point, and the outcome of loading it."""

    name: str
    distribution: str
    version: str
    status: str = "ok"
    """"ok", "failed" or "disabled"."""
    error: BaseException | None = None
    seconds: float = 0.0
    """The duration of its import."""

    @property
    def complaint(self) -> str:
        """A description of its fault; empty if it has none."""
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        return f"took {self.seconds:.1f} s to import: register import strings" if self.seconds > SLOW else ""

    def facts(self, registries: Registries) -> dict[str, Any]:
        """The record and the plugin's registrations, as JSON values."""
        owned = {kind: registry.owned(self.distribution) for kind, registry in registries.all().items()}
        registered = {kind: names for kind, names in owned.items() if names and self.status == "ok"}
        shown = {"distribution": self.distribution, "version": self.version, "entry_point": self.name}
        return {**shown, "status": self.status, "complaint": self.complaint, "registered": registered}

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point '{self.name}')"


class PluginManager(pluggy.PluginManager):
    """Loads the entry points of group "mocha" and fills the registries through the hooks."""

    def __init__(self) -> None:
        super().__init__("mocha")
        self.registries = Registries()
        self._registries_of_kinds: dict[str, Registry] = {}
        self.records: list[PluginRecord] = []
        self.add_hookspecs(hookspecs)
        for kind, registry in self.registries.all().items():
            getattr(self.hook, f"mocha_register_{kind}").call_historic(kwargs={kind: registry})

    def load(self) -> None:
        """Load every installed plugin: first the project's own, whose names others cannot take; then by name."""
        from mocha_core.plugin import core_plugin

        self.register(core_plugin, name="mocha-core")
        disabled = {n.strip() for n in os.environ.get("MOCHA_DISABLED_PLUGINS", "").split(",")} - {""}
        points = sorted(entry_points(group=GROUP), key=_order)
        for _, group in groupby(points, key=_is_foreign):
            imported: list[tuple[PluginRecord, Any]] = []
            for point in group:
                record = PluginRecord(point.name, *_distribution(point))
                self.records.append(record)
                if disabled & {"*", record.name, record.distribution}:
                    record.status = "disabled"
                    continue
                with self._isolated(record):
                    check_core_version(point, record)
                    started = perf_counter()
                    imported.append((record, point.load()))
                    record.seconds = perf_counter() - started
            # A plugin may register entries of a kind that another plugin added.
            for record, plugin in sorted(imported, key=lambda pair: not hasattr(pair[1], "mocha_register_kinds")):
                with self._isolated(record):
                    self.add_plugin(plugin, record.distribution)
                if record.status == "ok" and record.complaint:
                    warn(f"Plugin {record} {record.complaint}.")

    @contextmanager
    def _isolated(self, record: PluginRecord) -> Iterator[None]:
        """Record errors inside this context and warn of them, or raise them in strict mode."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            record.status, record.error = "failed", error
            message = f"Plugin {record} failed to load: {record.complaint.rstrip('.')}"
            if os.environ.get("MOCHA_STRICT_PLUGINS", "") not in ("", "0"):
                raise PluginError(f"{message}. Unset MOCHA_STRICT_PLUGINS to go on without it.") from error
            warn(f"{message}. Everything else works without it.")

    def add_plugin(self, plugin: object, name: str) -> None:
        """Register a plugin object under a name; on any error all its registrations are removed."""
        if self.has_plugin(name):
            raise PluginError(f"A plugin named '{name}' is loaded already. Give a distribution one entry point.")
        self.registries.attribute_to(name)
        try:
            self.register(plugin, name=name)
            self._open_kinds(name)
            self.check_pending()
        except BaseException:
            if self.has_plugin(name):
                self.unregister(name=name)
            self._drop(name)
            raise
        finally:
            self.registries.attribute_to("mocha-core")

    def _open_kinds(self, plugin: str) -> None:
        """Make registries for the kinds that a plugin added, and let plugins fill them by their hooks."""
        for kind in self.registries.kinds.owned(plugin):
            if kind in self.registries.all():
                raise PluginError(f"kind '{kind}' is there already. Choose another name.")
            entry = self.registries.kinds.entry(kind)
            registry = self._registries_of_kinds.setdefault(kind, Registry(entry.options.get("noun", kind)))
            registry.plugin = plugin
            vars(self.registries)[kind] = registry
            hook = f"mocha_register_{kind}"
            if not hasattr(self.hook, hook) or not getattr(self.hook, hook).has_spec():
                self.add_hookspecs(entry.load())
                getattr(self.hook, hook).call_historic(kwargs={kind: registry})

    def remove_plugin(self, name: str) -> None:
        """Remove a plugin and all its registrations."""
        self.unregister(name=name)
        self._drop(name)

    def _drop(self, plugin: str) -> None:
        kinds = self.registries.kinds.owned(plugin)
        self.registries.drop(plugin)
        for kind in kinds:
            if self.registries.all().get(kind) is self._registries_of_kinds.get(kind):
                vars(self.registries).pop(kind, None)


def entry_points(group: str) -> list[EntryPoint]:
    """The entry points of all distributions that can be read; of several distributions with one name, the first."""
    from packaging.utils import canonicalize_name

    points: dict[str, list[EntryPoint]] = {}
    for distribution in distributions():
        with suppress(Exception):  # a broken distribution must not prevent the loading of others
            if found := list(distribution.entry_points.select(group=group)):
                points.setdefault(canonicalize_name(_distribution(found[0])[0]), found)
    return [point for found in points.values() for point in found]


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """The distribution's name and version; either may be missing or unreadable after an interrupted installation."""
    name = number = None
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of missing metadata keys
        name, number = (point.dist.name, point.dist.version) if point.dist else (None, None)
    return name or point.value, number or "?"


def _is_foreign(point: EntryPoint) -> bool:
    return not _distribution(point)[0].startswith("mocha-")


def _order(point: EntryPoint) -> tuple[bool, str]:
    return _is_foreign(point), point.name


def check_core_version(point: EntryPoint, record: PluginRecord) -> None:
    """Raise `PluginError` if the plugin's distribution requires another version of mocha-core than this one."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for text in (point.dist and point.dist.requires) or ():
        required = Requirement(text)
        applies = required.marker is None or required.marker.evaluate({"extra": ""})
        if canonicalize_name(required.name) != "mocha-core" or not applies:
            continue
        try:
            installed = version("mocha-core")
        except PackageNotFoundError:  # a frozen application without the core's metadata
            return
        if not required.specifier.contains(installed, prereleases=True):
            raise PluginError(
                f"{record.distribution} {record.version} requires mocha-core{required.specifier}, and mocha-core "
                f"{installed} is installed. Install versions that fit: pip install --upgrade mocha-core "
                f"{record.distribution}"
            )


_lock = RLock()
_manager: PluginManager | None = None


def plugin_manager() -> PluginManager:
    """The manager, with all installed plugins loaded at the first call.

    The first call comes when a name is taken from a namespace (`layers.PoolingLayer`), a `System` or a `Net` is made, a
    file format is looked up, or the command `mocha` runs. Importing modules of `mocha_core` loads no plugin. If a
    plugin calls it while being loaded, it gets the plugins loaded so far: at least the project's own, which come first.
    """
    global _manager
    with _lock:
        if _manager is None:
            _manager = PluginManager()
            try:
                _manager.load()
            except BaseException:
                _manager = None
                raise
        return _manager


def registries() -> Registries:
    """The filled registries."""
    return plugin_manager().registries
