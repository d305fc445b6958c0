"""The core's own plugin: kernels that every backend has, and the first commands."""

from mocha_core.plugin.hookspecs import hookimpl
from mocha_core.plugin.registry import Candidates, Registry


@hookimpl
def mocha_register_kernels(kernels: Candidates) -> None:
    """The structural ops that move data; "*" is every backend."""
    kernels.add("mocha.fetch", "*", "mocha_core.net.fetch:FetchKernel")
    kernels.add("mocha.convert", "*", "mocha_core.compile.conversion:ConvertKernel")


@hookimpl
def mocha_register_commands(commands: Registry) -> None:
    """The commands of `mocha` that need no plugin."""
    commands.add("plugins", "mocha_core.commands:Plugins", help="list the installed plugins and their state")
    commands.add("backends", "mocha_core.commands:Backends", help="list the backends, and why one cannot be used here")
    commands.add("new-plugin", "mocha_core.plugin.new_plugin:NewPlugin", help="write a plugin package to start from")
