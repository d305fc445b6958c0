"""Makes the distributions of this checkout usable where nothing can be installed, as without a network:

    PYTHONPATH=$(python tools/checkout.py FOLDER) python ...

For each pyproject.toml it writes into the folder what `importlib.metadata` reads of an installed distribution: its name
and version, what it requires, and its entry points. Nothing is compiled: mocha-native is found, and says so.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main(folder: Path) -> str:
    """Fill the folder, and return what belongs on PYTHONPATH."""
    shutil.rmtree(folder, ignore_errors=True)
    sources = [folder.resolve()]
    for pyproject in [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        describe(project, folder)
        source = pyproject.parent / "src"
        sources.append(source if source.is_dir() else pyproject.parent)
    return os.pathsep.join(map(str, sources))


def describe(project: dict[str, Any], folder: Path) -> None:
    """What an installer would write about a project: METADATA and entry_points.txt."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    metadata = ["Metadata-Version: 2.3", f"Name: {project['name']}", f"Version: {project['version']}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in project.get("dependencies", ())]
    for extra, requirements in project.get("optional-dependencies", {}).items():
        metadata.append(f"Provides-Extra: {extra}")
        metadata += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    write(info / "METADATA", metadata)
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    points = [line for name, group in groups.items() if group for line in (f"[{name}]", *lines(group), "")]
    write(info / "entry_points.txt", points)


def lines(group: dict[str, str]) -> list[str]:
    """A group of entry points."""
    return [f"{name} = {target}" for name, target in group.items()]


def write(path: Path, text: list[str]) -> None:
    """Lines, as UTF-8."""
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
