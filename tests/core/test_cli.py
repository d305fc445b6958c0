"""The command `mocha`: what it lists, and commands of plugins."""

import pytest

from mocha_core import cli, hookimpl
from mocha_core.errors import FileError, PluginError
from mocha_core.plugins import PluginRecord, plugin_manager


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


def test_plugins_are_listed_with_their_state(greet, capsys, monkeypatch):
    records = [
        PluginRecord("greet", "acme-greet", "1.0"),
        PluginRecord("spoon", "acme-spoon", "2.0", "failed", PluginError("bent")),
        PluginRecord("fork", "acme-fork", "3.0", "disabled"),
    ]
    monkeypatch.setattr(plugin_manager(), "records", records)
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "acme-greet 1.0: ok",
        "    commands: greet",
        "acme-spoon 2.0: failed",
        "    entry point 'spoon': PluginError: bent",
        "acme-fork 3.0: disabled",
    ]
    monkeypatch.setattr(plugin_manager(), "records", [])
    cli.main(["plugins"])
    assert "No plugin is installed" in capsys.readouterr().out


def test_backends_are_listed(capsys):
    assert cli.main(["backends"]) == 0
    assert {"plain (mocha-toys): available", "deferred (mocha-toys): available"} <= set(
        capsys.readouterr().out.splitlines()
    )
