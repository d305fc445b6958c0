"""Writes the generated pages of the reference, `docs/reference/*.md`.

There is an entry for every name that plugins register here, and for every name of `mocha_core.api`.

    python tools/make_reference.py

Sphinx fills the entries with the docstrings. Needs all first-party distributions to be installed.
"""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

from mocha_core import api
from mocha_core.plugin.manager import PluginManager
from mocha_core.plugin.registry import Entry, Registry

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
#: Kinds whose names users import from the namespace of that name.
NAMESPACES = runpy.run_path(str(ROOT / "tools" / "make_stubs.py"))["NAMESPACES"]
TITLES = {"coffee": "Coffee breaks"}
NOTE = "% Written by tools/make_reference.py.\n\n"


def pages() -> dict[Path, str]:
    """What each page should hold."""
    # Not the shared manager: its registries hold objects instead of import strings once something was used.
    manager = PluginManager()
    manager.load()
    registries = manager.registries.all()
    shown = {kind: registry for kind, registry in registries.items() if type(registry) is Registry and kind != "kinds"}
    kinds = [kind for kind, registry in shown.items() if any(registry)]
    made = {FOLDER / f"{kind}.md": kind_page(kind, registries[kind]) for kind in kinds}
    return made | {FOLDER / "api.md": api_page()}


def kind_page(kind: str, registry: Registry) -> str:
    """A heading and an entry for each registered name."""
    title = TITLES.get(kind, kind.capitalize())
    entries = sorted(registry, key=lambda entry: entry.name)
    return NOTE + f"# {title}\n" + "".join(entry_of(kind, entry) for entry in entries)


def entry_of(kind: str, entry: Entry) -> str:
    """One registered name: where it comes from, and its docstring."""
    target = entry.target.replace(":", ".")
    where = f"`from mocha_core.{kind} import {entry.name}`; in `{entry.plugin}`."
    if kind == "commands":
        return f"\n## `mocha {entry.name}`\n\nIn `{entry.plugin}`: {entry.options['help']}.\n" + directive(
            target, entry.load()
        )
    if kind not in NAMESPACES or kind == "backends":
        where = f"In `{entry.plugin}`."
    return f"\n## `{entry.name}`\n\n{where}\n" + directive(target, entry.load(), is_group(entry.load()))


def is_group(found: Any) -> bool:
    """Whether it is a class that only holds others, such as `Pooling.Max`."""
    return inspect.isclass(found) and bool({n for n, v in vars(found).items() if n[0].isupper()})


def directive(target: str, found: Any, members: bool = False) -> str:
    """What tells Sphinx to show a docstring."""
    if inspect.isclass(found):
        lines = [f".. autoclass:: {target}", "   :no-index:"] + ["   :members:"] * members
    elif inspect.isroutine(found):
        lines = [f".. autofunction:: {target}", "   :no-index:"]
    elif inspect.ismodule(found):
        lines = [f".. automodule:: {target}", "   :members:", "   :no-index:"]
    else:
        lines = [f".. autodata:: {target}", "   :no-index:", "   :no-value:"]
    return "\n```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


def api_page() -> str:
    """The chapters of `mocha_core.api`, as its comments name them."""
    text = Path(api.__file__).read_text(encoding="utf-8")
    page = NOTE + "# `mocha_core.api`\n\n" + (api.__doc__ or "").strip() + "\n"
    for line in text.splitlines():
        if chapter := re.match(r"# (.*)\.$", line):
            page += f"\n## {chapter[1]}\n"
        elif name := re.match(r"from ([\w.]+) import (\w+) as (\w+)$", line):
            page += directive(f"{name[1]}.{name[2]}", getattr(api, name[3]), members=True)
    return page


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
