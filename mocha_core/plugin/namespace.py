"""Namespaces over the registries: modules whose attributes are the registered objects."""

import re
import sys
from collections.abc import Callable
from opcode import opmap
from pathlib import Path
from typing import Any

from mocha_core.checks import clipped
from mocha_core.errors import UnknownImportError, UnknownNameError
from mocha_core.suggestions import elsewhere


def fill(kind: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of the module `mocha_core.<kind>`."""

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'mocha_core.{kind}' has no attribute '{name}'")
        from mocha_core.plugin.frozen import without_metadata
        from mocha_core.plugin.manager import plugin_manager

        manager = plugin_manager()
        registry = manager.registries.all()[kind]
        if name in registry.names():
            return registry.get(name)
        # Python drops the message of an AttributeError in a `from ... import`.
        frame = sys._getframe(1)
        importing = frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]
        missing = UnknownImportError if importing else UnknownNameError
        package = _first_party(kind, name) or registry.dropped.get(name)
        if package is None:
            hint = elsewhere(kind, name, {k: r.names() for k, r in manager.registries.all().items()})
            raise missing(f"No {registry.kind} '{clipped(name)}'. {hint}" if hint else registry.unknown(name))
        failed = [r for r in manager.records if r.distribution == package and r.status != "ok"]
        if failed:
            raise missing(
                f"{kind}.{name} belongs to {failed[0]}, which is {failed[0].status}. `mocha plugins` shows why."
            ) from failed[0].error
        hint = without_metadata(package) or f"which is not installed. Install it: pip install {package}"
        raise missing(f"{kind}.{name} is in {package}, {hint}")

    def names() -> list[str]:
        from mocha_core.plugin.manager import registries

        return registries().all()[kind].names()

    return find, names


def _first_party(kind: str, name: str) -> str | None:
    """The distribution that has the name, according to the stub file `<kind>.pyi`."""
    stub = Path(__file__).parents[1] / f"{kind}.pyi"
    text = stub.read_text() if stub.exists() else ""
    match = re.search(rf"^from (\w+)[\w.]* import \w+ as {re.escape(name)}$", text, re.MULTILINE)
    return match[1].replace("_", "-") if match else None
