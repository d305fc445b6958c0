"""Registries: names that plugins gave to classes, kept as import strings until the first use."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mocha_core.checks import clipped, shown
from mocha_core.errors import ConfigurationError, MochaError, PluginError, UnknownNameError
from mocha_core.plugin.frozen import without_metadata
from mocha_core.suggestions import close

#: In keys, any op: a kernel serves the ops for which its backend has none of their own, a fusion begins at any step.
ANY = "*"


@dataclass(eq=False)
class Entry:
    """One registration: its target, `"module:attribute"` or the object itself, and its plugin."""

    name: str
    target: Any
    plugin: str
    priority: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """The registered object.

        Raises:
            PluginError: importing it failed; names the plugin and the cause.
        """
        if isinstance(self.target, str):
            self.target = import_string(self.target, f"'{self.name}', registered by plugin '{self.plugin}'")
        return self.target


def import_string(target: str, what: str) -> Any:
    """Import the object that `"module:attribute"` refers to."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except MochaError:
        raise
    except Exception as error:
        raise PluginError(
            f"Cannot load {what}: importing {target} failed with {type(error).__name__}: {error}. "
            "Reinstall or remove that distribution."
        ) from error


class Registry:
    """Entries by name. A name belongs to the first plugin that takes it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.plugin = "mocha-core"
        """The plugin that registers now; the plugin manager sets it."""
        self._entries: list[Entry] = []
        self._by_name: dict[str, list[Entry]] = {}
        self.dropped: dict[str, str] = {}
        """Names that were removed, and their plugin."""

    def add(self, name: str, target: Any, *, priority: int = 0, **options: Any) -> None:
        """Register `target` (an import string, or an object) under `name`.

        Raises:
            PluginError: another plugin has the name already.
        """
        for other in self.find(name):
            raise PluginError(
                f"{self.kind} '{name}' is registered twice, by plugin '{other.plugin}' and by plugin "
                f"'{self.plugin}'. Rename one of them, or disable one plugin with MOCHA_DISABLED_PLUGINS."
            )
        self._add(Entry(name, target, self.plugin, priority, options))

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        entries = self._by_name.setdefault(entry.name, [])
        entries.append(entry)
        entries.sort(key=lambda e: -e.priority)

    def find(self, *key: str) -> Sequence[Entry]:
        """The entries of a key, highest priority first; none if no plugin registered it."""
        return tuple(self._by_name.get("/".join(key), ()))

    def entry(self, name: str) -> Entry:
        """The registration of a name.

        Raises:
            UnknownNameError: no installed plugin has it.
        """
        for entry in self.find(name):
            return entry
        raise UnknownNameError(self.unknown(name))

    def get(self, name: str) -> Any:
        """The object registered under a name."""
        return self.entry(name).load()

    def names(self) -> list[str]:
        return sorted(self._by_name)

    def unknown(self, name: str) -> str:
        """The error text for a `name` that no plugin registered."""
        known = self.names()
        near = close(name, known)
        others = f"Registered: {', '.join(known)}." if known else "No installed plugin registers any."
        hint = f"Did you mean '{near}'?" if near else others
        return f"No {self.kind} '{clipped(name)}'. {hint} {self._where_to_look()}"

    def _where_to_look(self) -> str:
        return without_metadata() or "`mocha plugins` lists what is installed."

    def drop(self, plugin: str) -> None:
        """Remove all registrations of a plugin."""
        self.dropped |= dict.fromkeys(self.owned(plugin), plugin)
        kept = [entry for entry in self if entry.plugin != plugin]
        self._entries, self._by_name = [], {}
        for entry in kept:
            self._add(entry)

    def owned(self, plugin: str) -> list[str]:
        return [entry.name for entry in self if entry.plugin == plugin]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)


class Candidates(Registry):
    """Several entries per key, tried by priority: kernels by (op, backend), fusions by (op, half, backend)."""

    def add(self, *key: str, priority: int = 0) -> None:  # type: ignore[override]
        """Register the last argument (an import string, or a function) under the others.

        `kernels.add(op, backend, target)`; `fusions.add(op, half, backend, target)`.
        """
        *where, target = key
        if not all(isinstance(part, str) for part in where) or len(where) < 2:
            raise ConfigurationError(f"{self.kind}: expected names and then a target, received {shown(key)}.")
        self._add(Entry("/".join(where), target, self.plugin, priority))

    def conflicts(self) -> list[str]:
        """Descriptions of keys with several entries of one priority; all of them but one must decline."""
        alike: dict[tuple[str, int], list[Entry]] = {}
        for entry in self:
            alike.setdefault((entry.name, entry.priority), []).append(entry)
        return [self.conflict(entries, key.split("/")[-1]) for (key, _), entries in alike.items() if len(entries) > 1]

    def conflict(self, entries: Sequence[Entry], backend: str) -> str:
        """The error text for entries of equal priority: between which plugins users must choose, and how."""
        op, plugins = entries[0].name.split("/")[0], [entry.plugin for entry in entries]
        alone = [plugin for plugin in plugins if plugins.count(plugin) == 1]
        way_out = f"`prefer` cannot choose within a plugin: disable it with MOCHA_DISABLED_PLUGINS={plugins[0]}."
        if alone:
            way_out = f"Choose one with System(..., prefer={{'{op}': '{alone[0]}'}})."
        return (
            f"Several {self.kind}s of equal priority {entries[0].priority} serve op '{op}' on backend '{backend}', "
            f"from {', '.join(plugins)}. {way_out}"
        )
