"""Broken plugins harm nobody: each is rolled back, recorded and named; strict mode raises instead."""

import re
import sys
import types
import warnings
from importlib.metadata import distributions

import pytest

from mocha_core import __version__ as VERSION
from mocha_core import hookimpl
from mocha_core.errors import PluginError, UnknownNameError
from mocha_core.plugin import manager as plugins
from mocha_core.plugin.hookspecs import hookspec
from mocha_core.plugin.manager import PluginManager


class Distribution:
    def __init__(self, name, requires=None):
        self.name, self.version, self.requires = name, "1.2", requires


class Point:
    """An entry point whose module is a function that returns the plugin, or raises."""

    def __init__(self, name, load, distribution=None, requires=None):
        self.name, self.value, self.load = name, f"{name}:plugin", load
        self.dist = Distribution(distribution or f"acme-{name}", requires)


def good(name="Good"):
    class Plugin:
        @hookimpl
        def mocha_register_layers(self, layers):
            layers.add(name, f"nowhere:{name}")

    return Plugin()


def raising(error):
    def load():
        raise error

    return load


@pytest.fixture
def load(monkeypatch):
    """A manager that loaded the given points, and the warnings it gave."""

    def run(*points, strict=False, disabled="", action="always"):
        monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "mocha" else ())
        monkeypatch.setenv("MOCHA_STRICT_PLUGINS", "1" if strict else "0")
        monkeypatch.setenv("MOCHA_DISABLED_PLUGINS", disabled)
        manager = PluginManager()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            manager.load()
        return manager, [str(w.message) for w in caught]

    return run


class Half:
    """Registers two layers and then fails."""

    @hookimpl
    def mocha_register_layers(self, layers):
        layers.add("First", "nowhere:First")
        layers.add("Second", "nowhere:Second")
        raise ZeroDivisionError("half way")


class UnknownHook:
    @hookimpl
    def mocha_register_layers(self, layers):
        layers.add("Unknown", "nowhere:Unknown")

    @hookimpl
    def mocha_register_spoons(self, spoons):
        pass


class UnknownArgument:
    @hookimpl
    def mocha_register_layers(self, layers, spoons):
        layers.add("Unknown", "nowhere:Unknown")


class BadKernel:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("good.op", "cpu", "nowhere:build")
        kernels.add("op-without-backend", "nowhere:build")


BROKEN = {
    "import": (raising(ImportError("no module named cupy")), "ImportError: no module named cupy"),
    "exit": (raising(SystemExit(3)), "SystemExit: 3"),
    "half": (Half, "ZeroDivisionError: half way"),
    "hook": (UnknownHook, "unknown hook 'mocha_register_spoons'"),
    "argument": (UnknownArgument, "spoons"),
    "kernel": (BadKernel, "expected names and then a target"),
    "taken": (lambda: good(), "layer 'Good' is registered twice, by plugin 'acme-a-good' and by plugin 'acme-taken'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_rolled_back_named_and_recorded(load, kind):
    plugin, message = BROKEN[kind]
    points = Point("a-good", good), Point(kind, plugin), Point("z-late", lambda: good(name="Late"))
    manager, caught = load(*points)
    (warning,) = caught
    assert warning.startswith(f"Plugin acme-{kind} 1.2 (entry point '{kind}') failed to load: ")
    assert message in warning
    assert {r.name: r.status for r in manager.records} == {"a-good": "ok", kind: "failed", "z-late": "ok"}
    assert manager.registries.layers.names() == ["Good", "Late"]
    assert not list(manager.registries.kernels)[2:], "only the core's own two"
    assert not any(registry.owned(f"acme-{kind}") for registry in manager.registries.all().values())
    assert not manager.has_plugin(f"acme-{kind}")


@pytest.mark.parametrize("kind", BROKEN)
def test_strict_mode_raises_with_the_cause(load, kind):
    plugin, _ = BROKEN[kind]
    with pytest.raises(PluginError, match=rf"(?s)Plugin acme-{kind} 1.2 .*Unset MOCHA_STRICT_PLUGINS") as caught:
        load(Point("a-good", good), Point(kind, plugin), strict=True)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_harms_no_other_where_warnings_are_errors(load, kind, caplog):
    """As under `python -W error`; the message is logged instead."""
    plugin, message = BROKEN[kind]
    points = Point("a-good", good), Point(kind, plugin), Point("z-late", lambda: good(name="Late"))
    manager, caught = load(*points, action="error")
    assert caught == []
    assert {r.name: r.status for r in manager.records} == {"a-good": "ok", kind: "failed", "z-late": "ok"}
    assert manager.registries.layers.names() == ["Good", "Late"]
    assert f"Plugin acme-{kind} 1.2 (entry point '{kind}') failed to load: " in caplog.text
    assert message in caplog.text


def test_a_plugin_whose_import_warns_is_isolated_where_warnings_are_errors(load, caplog):
    def warning():
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return good(name="Old")

    manager, _ = load(Point("old", warning), Point("z-late", good), action="error")
    assert [r.status for r in manager.records] == ["failed", "ok"]
    assert "failed to load: DeprecationWarning: old" in caplog.text


def test_ctrl_c_is_no_broken_plugin(load):
    with pytest.raises(KeyboardInterrupt):
        load(Point("slow", raising(KeyboardInterrupt())))


@pytest.mark.parametrize("disabled", ["a", "acme-a", " a , other", "*"])
def test_disabled_plugins_are_not_imported(load, disabled):
    manager, caught = load(Point("a", raising(AssertionError("imported"))), disabled=disabled)
    assert [r.status for r in manager.records] == ["disabled"]
    assert caught == []


def test_plugins_load_in_the_order_of_their_names(load):
    loaded = []

    def point(name):
        return Point(name, lambda: (loaded.append(name), good(name=name))[1])

    load(point("b"), point("c"), point("a"))
    assert loaded == ["a", "b", "c"]


def test_the_projects_own_plugins_load_first(load):
    """Whatever a third party calls its own, it cannot take a name from under them."""
    ours = Point("z-pooling", lambda: good(name="PoolingLayer"), "mocha-pooling")
    theirs = Point("a-pooling", lambda: good(name="PoolingLayer"))
    manager, (warning,) = load(theirs, ours)
    assert [(r.distribution, r.status) for r in manager.records] == [
        ("mocha-pooling", "ok"),
        ("acme-a-pooling", "failed"),
    ]
    assert "by plugin 'mocha-pooling' and by plugin 'acme-a-pooling'" in warning


OTHER_CORES = [
    "mocha-core<0.1",
    "mocha-core>=99",
    "Mocha_Core ~= 9.0",
    "mocha-core[testing]==0.0.2; python_version > '3'",
]
THIS_CORE = [
    "mocha-core", f"mocha-core~={VERSION}", f"mocha.core=={VERSION}; python_version > '3'", "mocha-core-extra>=99",
    "mocha-core>=99; python_version < '3'", "mocha-core>=99; extra == 'test'", "numpy<0.1",
]  # fmt: skip


@pytest.mark.parametrize("requirement", OTHER_CORES)
def test_a_plugin_for_another_core_is_not_imported(load, requirement):
    point = Point("old", raising(AssertionError("imported")), requires=["numpy>=2", requirement])
    manager, (warning,) = load(point, Point("z-late", good))
    assert re.search(
        rf"PluginError: acme-old 1\.2 requires mocha-core[<>~=]+[\d.]+, and mocha-core {re.escape(VERSION)} is "
        r"installed. .* pip install --upgrade mocha-core acme-old",
        warning,
    )
    assert [r.status for r in manager.records] == ["failed", "ok"]


@pytest.mark.parametrize("requirement", THIS_CORE)
def test_other_requirements_do_not_matter(load, requirement):
    manager, caught = load(Point("a", good, requires=[requirement]))
    assert [r.status for r in manager.records] == ["ok"]
    assert caught == []


def test_a_requirement_that_cannot_be_read_is_named(load):
    _, (warning,) = load(Point("a", good, requires=["mocha-core =/= 1"]))
    assert "Plugin acme-a 1.2 (entry point 'a') failed to load: InvalidRequirement" in warning


def test_what_is_left_of_an_interrupted_installation_is_named(load, tmp_path):
    (tmp_path / "acme_ghost-1.0.dist-info").mkdir()
    (tmp_path / "acme_ghost-1.0.dist-info" / "entry_points.txt").write_text("[mocha]\nghost = acme_ghost._plugin\n")
    (ghost,) = (point for d in distributions(path=[str(tmp_path)]) for point in d.entry_points)
    manager, (warning,) = load(ghost, Point("z-late", good))
    assert "Plugin acme_ghost._plugin ? (entry point 'ghost') failed to load: ModuleNotFoundError" in warning
    assert [r.status for r in manager.records] == ["failed", "ok"]


def test_a_slow_plugin_works_where_warnings_are_errors(load, monkeypatch, caplog):
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(plugins, "perf_counter", lambda: next(clock))
    manager, _ = load(Point("a", good), action="error")
    assert [r.status for r in manager.records] == ["ok"]
    assert "took 10.0 s to import" in caplog.text


def test_a_plugin_that_is_slow_to_import_works_and_is_named(load, monkeypatch):
    clock = iter([0.0, 0.4, 1.0, 11.04])
    monkeypatch.setattr(plugins, "perf_counter", lambda: next(clock))
    manager, (warning,) = load(Point("a", good), Point("b", lambda: good(name="Slow")))
    assert warning == "Plugin acme-b 1.2 (entry point 'b') took 10.0 s to import: register import strings."
    assert [(r.status, r.complaint != "") for r in manager.records] == [("ok", False), ("ok", True)]
    assert manager.registries.layers.names() == ["Good", "Slow"]


def test_two_entry_points_of_one_distribution_do_not_unload_the_first(load):
    first, second = Point("a", good, "acme"), Point("b", lambda: good(name="Other"), "acme")
    manager, (warning,) = load(first, second)
    assert "'acme' is loaded already. Give a distribution one entry point." in warning
    assert manager.registries.layers.names() == ["Good"]
    assert manager.has_plugin("acme")


def test_removing_a_plugin_takes_back_what_it_registered(load):
    manager, _ = load(Point("a", good))
    manager.remove_plugin("acme-a")
    assert manager.registries.layers.names() == []
    manager.add_plugin(good(), "acme-a")
    assert manager.registries.layers.owned("acme-a") == ["Good"]


def test_registering_imports_nothing_and_the_first_use_does(load, monkeypatch):
    module = types.ModuleType("acme_module")
    module.Thing = object()
    manager = load()[0]
    manager.registries.layers.add("Thing", "acme_module:Thing")
    with pytest.raises(PluginError, match=r"Cannot load 'Thing', registered by plugin 'mocha-core'.*Reinstall"):
        manager.registries.layers.get("Thing")
    monkeypatch.setitem(sys.modules, "acme_module", module)
    assert manager.registries.layers.get("Thing") is module.Thing


def test_unknown_names_get_a_hint(load):
    registry = load(Point("a", lambda: good(name="PoolingLayer")))[0].registries.layers
    assert "No layer 'PolingLayer'. Did you mean 'PoolingLayer'?" in registry.unknown("PolingLayer")
    assert "Registered: PoolingLayer." in registry.unknown("X")
    assert "No installed plugin registers any." in load()[0].registries.layers.unknown("X")


def installation(folder, name, entry_points, metadata):
    folder = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes(metadata)
    (folder / "entry_points.txt").write_bytes(entry_points)


def test_installations_that_cannot_be_read_harm_nobody(load, tmp_path, monkeypatch):
    garbage = bytes(range(128, 256))
    installation(tmp_path, "acme-a", b"[mocha]\na = acme_a._plugin\n", garbage)
    installation(tmp_path, "acme-b", garbage, b"Metadata-Version: 2.1\nName: acme-b\nVersion: 1.0\n")
    found = plugins.entry_points("mocha")
    monkeypatch.syspath_prepend(tmp_path)
    more = [point for point in plugins.entry_points("mocha") if point not in found]
    assert [point.value for point in more] == ["acme_a._plugin"]
    manager, (warning,) = load(*more, Point("z-late", good))
    assert "Plugin acme_a._plugin ? (entry point 'a') failed to load: UnicodeDecodeError" in warning
    assert [r.status for r in manager.records] == ["failed", "ok"]


def test_of_two_installations_the_first_on_the_path_counts(tmp_path, monkeypatch):
    for place, version in (("second", b"2"), ("first", b"1")):
        (tmp_path / place).mkdir()
        name = b"Acme.Twice" if place == "first" else b"acme-twice"
        metadata = b"Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)
        installation(tmp_path / place, "acme-twice", b"[mocha]\ntwice = acme_twice\n", metadata)
        monkeypatch.syspath_prepend(tmp_path / place)
    assert [p.dist.version for p in plugins.entry_points("mocha") if p.name == "twice"] == ["1"]


def test_a_plugin_that_asks_for_names_while_it_is_loaded_gets_those_there_are(monkeypatch):
    managers = []

    def load():
        managers.append(plugins.plugin_manager())
        assert managers[-1].registries.layers.names() == ["Good"]
        return good(name="Late")

    points = [Point("late", load), Point("early", good, "mocha-early")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    monkeypatch.setattr(plugins, "_manager", None)
    manager = plugins.plugin_manager()
    assert [r.status for r in manager.records] == ["ok", "ok"]
    assert managers == [manager] == [plugins.plugin_manager()]
    assert manager.registries.layers.names() == ["Good", "Late"]


def test_loading_that_failed_is_tried_again(monkeypatch):
    points = [Point("a", raising(ZeroDivisionError("x")))]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    monkeypatch.setattr(plugins, "_manager", None)
    monkeypatch.setenv("MOCHA_STRICT_PLUGINS", "1")
    for _ in range(2):
        with pytest.raises(PluginError, match="acme-a"):
            plugins.plugin_manager()
    points.clear()
    assert plugins.plugin_manager().records == []


class Spoons:
    """A kind that a plugin adds."""

    @hookspec(historic=True)
    def mocha_register_spoons(self, spoons):
        """`spoons.add(name, target)`."""


class SpoonKind:
    @hookimpl
    def mocha_register_kinds(self, kinds):
        kinds.add("spoons", Spoons, noun="spoon")

    @hookimpl
    def mocha_register_spoons(self, spoons):
        spoons.add("tea", "nowhere:Tea")


def spoon(name, **options):
    class Plugin:
        @hookimpl(**options)
        def mocha_register_spoons(self, spoons):
            spoons.add(name, f"nowhere:{name}")

    return Plugin()


def test_a_plugin_adds_a_kind_that_others_fill(load):
    """Also a plugin whose name comes before that of the one that adds the kind."""
    points = (Point(name, lambda name=name: spoon(name)) for name in ("a-soup", "z-ladle"))
    manager, caught = load(*points, Point("kind", SpoonKind))
    assert not caught
    spoons = manager.registries.spoons
    assert {entry.name: entry.plugin for entry in spoons} == {
        "tea": "acme-kind", "a-soup": "acme-a-soup", "z-ladle": "acme-z-ladle",
    }  # fmt: skip
    with pytest.raises(UnknownNameError, match=r"No spoon 'soup'. Did you mean 'a-soup'"):
        spoons.get("soup")
    assert [r.facts(manager.registries)["registered"].get("spoons") for r in manager.records] == [
        ["a-soup"], ["tea"], ["z-ladle"],
    ]  # fmt: skip


def test_a_kind_goes_and_comes_with_its_plugin(load):
    manager, _ = load(Point("kind", SpoonKind), Point("soup", lambda: spoon("soup")))
    manager.remove_plugin("acme-kind")
    assert not hasattr(manager.registries, "spoons")
    manager.add_plugin(SpoonKind(), "acme-kind")
    assert manager.registries.spoons.names() == ["soup", "tea"]


def test_without_the_kind_a_hook_of_it_is_unknown_or_optional(load):
    manager, (warning,) = load(
        Point("soup", lambda: spoon("soup")), Point("ladle", lambda: spoon("ladle", optionalhook=True))
    )
    assert "unknown hook 'mocha_register_spoons'" in warning
    assert {r.name: r.status for r in manager.records} == {"soup": "failed", "ladle": "ok"}


class TakenKind:
    @hookimpl
    def mocha_register_kinds(self, kinds):
        kinds.add("layers", Spoons)


def test_a_kind_of_the_core_cannot_be_taken(load):
    manager, (warning,) = load(Point("a-good", good), Point("taken", TakenKind))
    assert "kind 'layers' is there already" in warning
    assert manager.registries.layers.names() == ["Good"]
