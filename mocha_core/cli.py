"""The command `mocha`, with the subcommands that the core and the plugins registered."""

import argparse
import sys
from collections.abc import Sequence

from mocha_core.errors import MochaError
from mocha_core.plugin.manager import registries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mocha ARGUMENTS`; returns the exit status: 0, 1 for a MochaError, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="mocha", description="Deep learning for people who think in layers.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    try:
        given = sys.argv[1:] if arguments is None else arguments
        for entry in registries().commands:
            text = entry.options.get("help")
            added = commands.add_parser(entry.name, help=text, description=text)
            # Load only the command that is called, so that a broken one does not break the others.
            if entry.name in given:
                command = entry.load()()
                command.configure(added)
                added.set_defaults(run=command.run)
        parsed = parser.parse_args(arguments)
        return int(parsed.run(parsed) or 0)
    except MochaError as error:
        print(f"mocha: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
