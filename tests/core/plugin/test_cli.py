"""The command `mocha`: what it lists, and commands of plugins."""

import json

import pytest

from mocha_core import cli, hookimpl
from mocha_core.errors import FileError, PluginError
from mocha_core.plugin.manager import PluginRecord, plugin_manager
from mocha_core.plugin.registry import Candidates


class Greet:
    help = "greets"

    def configure(self, parser):
        parser.add_argument("name")

    def run(self, arguments):
        if arguments.name == "nobody":
            raise FileError("'nobody' is missing")
        print(f"hello {arguments.name}")
        return 3


@pytest.fixture
def greet(register):
    class Plugin:
        @hookimpl
        def mocha_register_commands(self, commands):
            commands.add("greet", Greet)

    register(Plugin(), "acme-greet")


def test_commands_of_plugins(greet, capsys):
    assert cli.main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    assert cli.main(["greet", "nobody"]) == 1
    assert capsys.readouterr().err == "mocha: 'nobody' is missing\n"
    with pytest.raises(SystemExit) as caught:
        cli.main(["sing"])
    assert caught.value.code == 2


class Rivals:
    """Kernels and fusions of equal priority: of its own, and with the plugins after it."""

    def __init__(self, *ops):
        self.ops = ops

    @hookimpl
    def mocha_register_kernels(self, kernels):
        for op in self.ops:
            kernels.add(op, "plain", "nowhere:build", priority=7)

    @hookimpl
    def mocha_register_fusions(self, fusions):
        fusions.add(self.ops[0], "backward", "*", "nowhere:rewrite")


@pytest.fixture
def records(monkeypatch):
    """Sets what became of the entry points."""
    return lambda *records: monkeypatch.setattr(plugin_manager(), "records", [*records])


def test_plugins_are_listed_with_their_state(greet, capsys, records):
    records(
        PluginRecord("greet", "acme-greet", "1.0"),
        PluginRecord("greet-again", "acme-greet", "1.0", "failed", PluginError("loaded already")),
        PluginRecord("spoon", "acme-spoon", "2.0", "failed", PluginError("bent")),
        PluginRecord("fork", "acme-fork", "3.0", "disabled"),
        PluginRecord("knife", "acme-knife", "4.0", seconds=10.04),
    )
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "acme-greet 1.0: ok",
        "    commands: greet",
        "acme-greet 1.0: failed",
        "    entry point 'greet-again': PluginError: loaded already",
        "acme-spoon 2.0: failed",
        "    entry point 'spoon': PluginError: bent",
        "acme-fork 3.0: disabled",
        "acme-knife 4.0: ok",
        "    entry point 'knife': took 10.0 s to import: register import strings",
    ]
    records()
    cli.main(["plugins"])
    assert "No plugin is installed" in capsys.readouterr().out


def test_kernels_that_nobody_can_choose_between_are_listed(register, capsys, records):
    records(PluginRecord("a", "acme-a", "1.0"), PluginRecord("b", "acme-b", "1.0"))
    register(Rivals("x", "x", "y"), "acme-a")
    register(Rivals("x", "z"), "acme-b")
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Conflict: Several kernels of equal priority 7 serve op 'x' on backend 'plain', from acme-a, acme-a, acme-b. "
        "Choose one with System(..., prefer={'x': 'acme-b'}).",
        "Conflict: Several fusions of equal priority 0 serve op 'x' on backend '*', from acme-a, acme-b. "
        "Choose one with System(..., prefer={'x': 'acme-a'}).",
    ]
    plugin_manager().remove_plugin("acme-b")
    cli.main(["plugins"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Conflict: Several kernels of equal priority 7 serve op 'x' on backend 'plain', from acme-a, acme-a. "
        "`prefer` cannot choose within a plugin: disable it with MOCHA_DISABLED_PLUGINS=acme-a."
    )
    register(Rivals("z"), "acme-b")


def test_what_differs_in_priority_or_backend_is_no_conflict():
    kernels = Candidates("kernel")
    for priority, backend in ((0, "plain"), (1, "plain"), (0, "*")):
        kernels.add("x", backend, "nowhere:build", priority=priority)
    assert kernels.conflicts() == []


def test_programs_can_read_the_list(greet, register, capsys, records):
    records(
        PluginRecord("greet", "acme-greet", "1.0"),
        PluginRecord("spoon", "acme-spoon", "2.0", "failed", PluginError("bent")),
    )
    register(Rivals("x", "x"), "acme-a")
    assert cli.main(["plugins", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["plugins"] == [
        {
            "entry_point": "greet", "distribution": "acme-greet", "version": "1.0", "status": "ok", "complaint": "",
            "registered": {"commands": ["greet"]},
        },
        {
            "entry_point": "spoon", "distribution": "acme-spoon", "version": "2.0", "status": "failed",
            "complaint": "PluginError: bent", "registered": {},
        },
    ]  # fmt: skip
    (conflict,) = listed["conflicts"]
    assert conflict.startswith(
        "Several kernels of equal priority 7 serve op 'x' on backend 'plain', from acme-a, acme-a."
    )


def test_a_plugin_cannot_replace_a_command_of_the_core(register):
    class Plugin:
        @hookimpl
        def mocha_register_commands(self, commands):
            commands.add("plugins", Greet)

    with pytest.raises(PluginError, match="command 'plugins' is registered twice, by plugin 'mocha-core' and by"):
        register(Plugin(), "acme-plugins")


def test_backends_are_listed(capsys):
    assert cli.main(["backends"]) == 0
    assert {"plain (mocha-toys): available", "deferred (mocha-toys): available"} <= set(
        capsys.readouterr().out.splitlines()
    )
