"""`PluginTests`: the test class for distributions. Needs pytest."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import mocha_core
from mocha_core.compile.backend import Backend
from mocha_core.compile.chain import Chain
from mocha_core.compile.layout import Convert
from mocha_core.describe.layer import Layer, Neuron
from mocha_core.describe.parameter import Constraint, Initializer, Regularizer
from mocha_core.describe.transformer import Transformer
from mocha_core.errors import ConfigurationError
from mocha_core.graph import commit, structural
from mocha_core.graph.op import Op
from mocha_core.plugin.manager import GROUP, plugin_manager, registries
from mocha_core.plugin.registry import ANY, Entry, import_string
from mocha_core.testing.backends import KIT
from mocha_core.testing.conformance import Conformance
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.formats import Format
from mocha_core.train.solver import Solver

#: The base class of the registered classes, by kind. Groups of constants may be registered as layers, and policies
#: as solvers.
BASES: dict[str, type] = {
    "backends": Backend,
    "ops": Op,
    "layers": Layer,
    "neurons": Neuron,
    "initializers": Initializer,
    "regularizers": Regularizer,
    "constraints": Constraint,
    "transformers": Transformer,
    "solvers": Solver,
    "coffee": CoffeeBreak,
    "formats": Format,
}
GROUPS = ("layers", "solvers")
#: Ops of the core, which no plugin registers.
STRUCTURAL = {
    op.name
    for module in (commit, structural)
    for op in vars(module).values()
    if isinstance(getattr(op, "name", None), str)
}
STRUCTURAL |= {Convert.name, Chain.name}

#: A script that loads the plugins, and prints their states and the number of their registrations.
STATES = """
import json
from mocha_core.plugin.manager import plugin_manager

manager = plugin_manager()
names = [record.distribution for record in manager.records]
print(json.dumps([
    {r.distribution: f"{r.status}: {r.error}" for r in manager.records},
    {name: sum(len(r.owned(name)) for r in manager.registries.all().values()) for name in names},
]))
"""
#: A script that prints the modules that importing an entry point's module imports.
IMPORTED = """
import json, sys
from mocha_core import hookimpl

before = set(sys.modules)
__import__({module!r})
print(json.dumps(sorted(set(sys.modules) - before)))
"""


class PluginTests(Conformance):
    """The requirements on a distribution with plugins. Subclass it as `Test...`, and name the distribution:

        class TestAcmeLayers(PluginTests):
            distribution = "acme-layers"

    The distribution has to be installed (`pip install -e .` will do). Its entry point is light, all its registrations
    can be loaded and are of the right kind, and it can be disabled.

    Attributes:
        distribution: its name, as pip knows it.
        prefix: the prefix of the names of its ops, which makes them unique; None: the first word of the distribution's
            name and a dot, such as "acme.".
    """

    distribution: ClassVar[str] = ""
    prefix: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.distribution and cls.__name__.startswith("Test"):
            raise ConfigurationError(
                f"{cls.__name__}: say which distribution it tests, such as distribution = 'acme-layers'."
            )

    def arguments(self) -> dict[str, list[Any]]:
        return super().arguments() | {"kind": list(registries().all())}

    @property
    def installed(self) -> Distribution:
        """The distribution's metadata."""
        try:
            return distribution(self.distribution)
        except PackageNotFoundError as error:
            raise AssertionError(
                f"Distribution '{self.distribution}' is not installed. Install it: pip install -e ."
            ) from error

    @property
    def name(self) -> str:
        """The distribution's name as its metadata spells it, under which its registrations are kept."""
        return str(self.installed.metadata["Name"])

    @property
    def entry_point(self) -> EntryPoint:
        """The one entry point in group "mocha"."""
        points = [point for point in self.installed.entry_points if point.group == GROUP]
        if len(points) != 1:
            raise AssertionError(
                f"'{self.distribution}' has {len(points)} entry points in group '{GROUP}', expected one: "
                f'[project.entry-points.{GROUP}] acme = "acme._plugin". Install it again after a change.'
            )
        return points[0]

    def entries(self, kind: str) -> Iterator[Entry]:
        """The registrations of a kind by the distribution."""
        return (entry for entry in registries().all()[kind] if entry.plugin == self.name)

    # Finding it.

    def test_it_loads(self) -> None:
        point = self.entry_point
        (record,) = (r for r in plugin_manager().records if (r.distribution, r.name) == (self.name, point.name))
        assert record.status == "ok", f"{record}: {record.status}: {record.error}"
        assert any(registry.owned(self.name) for registry in registries().all().values()), "it registers nothing"

    def test_finding_it_imports_nothing_else(self) -> None:
        """The imports of the entry point's module slow down every program that uses Mocha."""
        module = self.entry_point.module
        brought = json.loads(self.run(IMPORTED.format(module=module)))
        own = module.partition(".")[0]
        foreign = {name.partition(".")[0] for name in brought} - {own} - set(sys.stdlib_module_names)
        foreign = {name for name in foreign - {"mocha_core", "pluggy"} if not name.startswith("__editable__")}
        if foreign:
            raise AssertionError(
                f"importing {module} imports {', '.join(sorted(foreign))}. Register import strings, such as "
                f'layers.add("AcmeLayer", "{own}.acme:AcmeLayer"), and import {own} without them.'
            )
        heavy = {"mocha_core.net.net", "mocha_core.describe.layer", "mocha_core.graph.op"} & set(brought)
        assert not heavy, f"importing {module} imports {', '.join(sorted(heavy))}: register import strings"

    def test_it_works_alone_and_strictly(self) -> None:
        others = {record.distribution for record in plugin_manager().records} - {self.name}
        states, _ = json.loads(self.run(STATES, MOCHA_STRICT_PLUGINS="1", MOCHA_DISABLED_PLUGINS=",".join(others)))
        assert states[self.name].startswith("ok"), states[self.name]

    def test_it_can_be_disabled(self) -> None:
        """Disabling it changes no other plugin."""
        disabled = f"{os.environ.get('MOCHA_DISABLED_PLUGINS', '')},{self.name}"
        states, owned = json.loads(self.run(STATES, MOCHA_STRICT_PLUGINS=""))
        without, left = json.loads(self.run(STATES, MOCHA_STRICT_PLUGINS="", MOCHA_DISABLED_PLUGINS=disabled))
        assert without.pop(self.name).startswith("disabled")
        assert left.pop(self.name) == 0
        assert without == {name: state for name, state in states.items() if name != self.name}
        assert left == {name: count for name, count in owned.items() if name != self.name}

    def run(self, code: str, **environment: str) -> str:
        """The output of code in a new Python process, without warnings about plugins."""
        command = [sys.executable, "-W", "ignore::RuntimeWarning", "-c", code]
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    # Its registrations.

    def test_everything_loads(self, kind: str) -> None:
        base = BASES.get(kind, object)
        for entry in self.entries(kind):
            loaded = entry.load()
            if isinstance(loaded, type) and issubclass(loaded, base):
                assert not inspect.isabstract(loaded), (
                    f"{kind}: '{entry.name}' has abstract methods: {unfinished(loaded)}"
                )
            elif kind in BASES and kind not in GROUPS:
                raise AssertionError(f"{kind}: '{entry.name}' is {loaded!r}, expected a subclass of {base.__name__}")
            if kind in BASES and kind not in ("backends", "ops", "formats"):
                assert getattr(getattr(mocha_core, kind), entry.name) is loaded

    def test_ops_have_their_own_names(self) -> None:
        prefix = f"{self.distribution.partition('-')[0]}." if self.prefix is None else self.prefix
        for entry in self.entries("ops"):
            op = entry.load()
            assert op.name == entry.name, f"op {op.__name__} is registered as '{entry.name}', but named '{op.name}'"
            assert op.name.startswith(prefix), (
                f"op '{op.name}': expected a name that begins with '{prefix}', so that no other distribution has "
                f"an op of that name: '{prefix}{op.name}'"
            )

    def test_layers_are_named_as_they_are_registered(self) -> None:
        for entry in self.entries("layers"):
            assert entry.load().__name__ == entry.name, f"'{entry.name}' is {entry.load()!r}"

    def test_kernels(self) -> None:
        ops, families = set(registries().ops.names()) | STRUCTURAL | {ANY}, {"*", *KIT}
        for backend in registries().backends:
            families |= {c.__dict__["name"] for c in backend.load().__mro__ if "name" in c.__dict__}
        for entry in self.entries("kernels"):
            op, _, family = entry.name.rpartition("/")
            assert op in ops, f"a kernel is registered for op '{op}', which no installed plugin registers"
            assert family in families, f"a kernel of '{op}' is for backend '{family}', which is not installed"
            assert_takes(entry, 2, "build(backend, call)")

    def test_fusions(self) -> None:
        ops = set(registries().ops.names()) | {ANY}
        for entry in self.entries("fusions"):
            op, half, _ = entry.name.rsplit("/", 2)
            assert op in ops, f"a fusion is anchored on op '{op}', which no installed plugin registers"
            assert half in ("forward", "backward"), f"fusion '{entry.name}': expected 'forward' or 'backward'"
            assert_takes(entry, 2, "rewrite(graph, root)")

    def test_backends(self) -> None:
        for entry in self.entries("backends"):
            backend = entry.load()
            assert backend.name == entry.name, f"'{entry.name}' is a backend whose name is '{backend.name}'"
            if probe := entry.options.get("available"):
                reason = import_string(probe, f"the probe of backend '{entry.name}'")()
                assert isinstance(reason, str), f"{probe} returned {reason!r}, expected '' or why it is not available"

    def test_formats(self) -> None:
        for entry in self.entries("formats"):
            good = entry.name.startswith(".") and entry.name == entry.name.lower() and len(entry.name) > 1
            assert good, f"format '{entry.name}': expected an ending in lower case, such as '.npz'"
            assert isinstance(entry.load()(), Format)

    def test_commands(self) -> None:
        for entry in self.entries("commands"):
            command, parser = entry.load()(), argparse.ArgumentParser(prog=f"mocha {entry.name}")
            command.configure(parser)
            assert callable(command.run), f"command '{entry.name}' has no run(arguments)"
            assert entry.options.get("help"), f"command '{entry.name}' has no help text: use add(..., help='...')"
            parser.format_help()

    # Its metadata.

    def test_it_requires_a_core_of_this_interface(self) -> None:
        """Interfaces change between versions, so a requirement without an upper bound breaks one day."""
        from packaging.requirements import Requirement

        required = [Requirement(text) for text in self.installed.requires or []]
        cores = [r for r in required if r.name.replace("_", "-").lower() == "mocha-core" and r.marker is None]
        assert cores, f"'{self.distribution}' does not require mocha-core: dependencies = ['mocha-core~=...']"
        for core in cores:
            version = mocha_core.__version__
            assert core.specifier.contains(version, prereleases=True), f"{core} does not admit mocha-core {version}"
            assert not core.specifier.contains("99999"), f"{core} has no upper bound: 'mocha-core~={version}' has"

    def test_it_is_typed(self) -> None:
        package = self.entry_point.module.partition(".")[0]
        spec = find_spec(package)
        assert spec is not None
        folders = spec.submodule_search_locations
        assert folders is not None, f"'{package}' is a single module: make it a package, with py.typed"
        assert any((Path(folder) / "py.typed").is_file() for folder in folders), f"'{package}' has no file py.typed"

    def test_it_has_a_licence(self) -> None:
        metadata = self.installed.metadata
        classified = any(text.startswith("License ::") for text in metadata.get_all("Classifier") or [])
        assert {"License-Expression", "License"} & set(metadata) or classified, "it states no licence"


def unfinished(kind: type) -> str:
    """The abstract methods of a class."""
    return ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))


def assert_takes(entry: Entry, count: int, example: str) -> None:
    """Raise unless a registered function takes `count` arguments."""
    target = entry.load()
    try:
        inspect.signature(target).bind(*[None] * count)
    except TypeError as error:
        raise AssertionError(f"'{entry.name}' is {target!r}, expected {example}: {error}") from error
