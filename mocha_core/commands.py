"""The core's commands that say what is installed: `mocha plugins` and `mocha backends`."""

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from mocha_core.plugins import plugin_manager, registries
from mocha_core.registry import way_out


class Plugins:
    """Lists each plugin with its version, state and what it registered, and where two of them are in conflict."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def run(self, arguments: Namespace) -> int:
        plugins, conflicts = list_plugins(), list_conflicts()
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
            print(
                f"Conflict: {conflict['kind']}s of equal priority {conflict['priority']} for op '{conflict['op']}' on "
                f"backend '{conflict['backend']}', from {', '.join(conflict['plugins'])}. {conflict['way_out']}"
            )
        if not plugins:
            print("No plugin is installed. Start with: pip install mocha-cpu")
        return 0


def list_plugins() -> list[dict[str, Any]]:
    """The facts of each plugin, as JSON values."""
    manager = plugin_manager()
    return [
        {
            "entry_point": record.name,
            "distribution": record.distribution,
            "version": record.version,
            "status": record.status,
            "complaint": record.complaint,
            "registered": {
                kind: owned
                for kind, registry in manager.registries.all().items()
                if record.status == "ok" and (owned := registry.owned(record.distribution))
            },
        }
        for record in manager.records
    ]


def list_conflicts() -> list[dict[str, Any]]:
    """The kernels and fusions between which a net that needs one cannot choose, as JSON values."""
    return [
        {
            "kind": candidates.kind,
            "op": (op := entries[0].name.split("/")[0]),
            "backend": entries[0].name.split("/")[-1],
            "priority": entries[0].priority,
            "plugins": [entry.plugin for entry in entries],
            "way_out": way_out(op, entries),
        }
        for candidates in (registries().kernels, registries().fusions)
        for entries in candidates.conflicts()
    ]


class Backends:
    """Lists each backend and whether it can be used here."""

    def configure(self, parser: ArgumentParser) -> None:
        pass

    def run(self, arguments: Namespace) -> int:
        from mocha_core.system import unavailable

        entries = sorted(registries().backends, key=lambda entry: -entry.priority)
        for entry in entries:
            reason = unavailable(entry.name)
            print(f"{entry.name} ({entry.plugin}): {f'not available: {reason}' if reason else 'available'}")
        if not entries:
            print("No backend is installed. Start with: pip install mocha-cpu")
        return 0
