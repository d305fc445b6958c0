"""The command `mocha`: what is installed, and commands that plugins add."""

import argparse
import sys
from collections.abc import Sequence

from mocha_core.errors import MochaError
from mocha_core.plugins import plugin_manager, registries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mocha ARGUMENTS`; returns the exit status: 0, 1 for a MochaError, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="mocha", description="Deep learning for people who think in layers.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    plugins = commands.add_parser("plugins", help="list the installed plugins and their state")
    plugins.set_defaults(run=lambda _: list_plugins())
    backends = commands.add_parser("backends", help="list the backends, and why one cannot be used here")
    backends.set_defaults(run=lambda _: list_backends())
    try:
        given = sys.argv[1:] if arguments is None else arguments
        for entry in registries().commands:
            text = entry.options.get("help")
            added = commands.add_parser(entry.name, help=text, description=text)
            # Only the command that is asked for is loaded: a broken one must not take the others with it.
            if entry.name in given:
                command = entry.load()()
                command.configure(added)
                added.set_defaults(run=command.run)
        parsed = parser.parse_args(arguments)
        return int(parsed.run(parsed) or 0)
    except MochaError as error:
        print(f"mocha: {error}", file=sys.stderr)
        return 1


def list_plugins() -> int:
    """Print each plugin with its version, state and what it registered."""
    manager = plugin_manager()
    for record in manager.records:
        print(f"{record.distribution} {record.version}: {record.status}")
        if record.error is not None:
            print(f"    entry point '{record.name}': {type(record.error).__name__}: {record.error}")
        for kind, registry in manager.registries.all().items():
            owned = registry.owned(record.distribution)
            if owned:
                print(f"    {kind}: {', '.join(owned)}")
    if not manager.records:
        print("No plugin is installed. Start with: pip install mocha-cpu")
    return 0


def list_backends() -> int:
    """Print each backend and whether it can be used here."""
    from mocha_core.system import unavailable

    entries = sorted(registries().backends, key=lambda entry: -entry.priority)
    for entry in entries:
        reason = unavailable(entry.name)
        print(f"{entry.name} ({entry.plugin}): {f'not available: {reason}' if reason else 'available'}")
    if not entries:
        print("No backend is installed. Start with: pip install mocha-cpu")
    return 0


if __name__ == "__main__":
    sys.exit(main())
