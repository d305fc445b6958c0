"""The core's commands that list what is installed: `mocha plugins` and `mocha backends`."""

import json
from argparse import ArgumentParser, Namespace

from mocha_core.plugin.frozen import without_metadata
from mocha_core.plugin.manager import plugin_manager, registries


class Plugins:
    """Lists each plugin with its version, state and registrations, and the conflicts between plugins."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def run(self, arguments: Namespace) -> int:
        plugins = [record.facts(registries()) for record in plugin_manager().records]
        conflicts = [*registries().kernels.conflicts(), *registries().fusions.conflicts()]
        if arguments.json:
            print(json.dumps({"plugins": plugins, "conflicts": conflicts}, indent=2))
            return 0
        for plugin in plugins:
            print(f"{plugin['distribution']} {plugin['version']}: {plugin['status']}")
            if plugin["complaint"]:
                print(f"    entry point '{plugin['entry_point']}': {plugin['complaint']}")
            for kind, names in plugin["registered"].items():
                print(f"    {kind}: {', '.join(names)}")
        for conflict in conflicts:
            print(f"Conflict: {conflict}")
        if not plugins:
            print(without_metadata() or "No plugin is installed. Start with: pip install mocha-cpu")
        return 0


class Backends:
    """Lists each backend and whether it can be used here."""

    def configure(self, parser: ArgumentParser) -> None:
        pass

    def run(self, arguments: Namespace) -> int:
        from mocha_core.net.system import unavailable

        entries = sorted(registries().backends, key=lambda entry: -entry.priority)
        for entry in entries:
            reason = unavailable(entry.name)
            print(f"{entry.name} ({entry.plugin}): {f'not available: {reason}' if reason else 'available'}")
        if not entries:
            print(without_metadata() or "No backend is installed. Start with: pip install mocha-cpu")
        return 0
