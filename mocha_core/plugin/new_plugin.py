"""`mocha new-plugin NAME`: a copy of the plugin template under another name."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

from mocha_core.errors import ConfigurationError, FileError
from mocha_core.host.files import expanded

#: The names in the template.
DISTRIBUTION = "acme-softplus"
#: Files and folders that running the template's code leaves behind.
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", ".venv", "dist")


class NewPlugin:
    """Writes a plugin package with a layer, its op, tests that pass, a README, a licence and a CI file."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="of the distribution, such as acme-swish")
        parser.add_argument("--to", metavar="DIR", type=Path, default=Path(), help="where its folder goes (default: .)")

    def run(self, arguments: Namespace) -> int:
        folder = write_plugin(arguments.name, arguments.to)
        print(f"{folder} is a plugin that works. Its README.md says how to test it and make it yours:")
        print(f"    cd {folder}; pip install -e '.[test]'; pytest")
        return 0


def write_plugin(name: str, to: Path) -> Path:
    """Write the folder `to/name`, whole or not at all.

    Raises:
        ConfigurationError: the name cannot be that of a distribution and its package.
        FileError: the folder exists, or cannot be written.
    """
    check_name(name)
    to = expanded(to)
    folder = to / name
    if folder.exists() or folder.is_symlink():
        raise FileError(f"'{folder}' exists. Choose another name, or another place: --to DIR.")
    try:
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=to) as temporary:
            shutil.copytree(template(), written := Path(temporary, name), ignore=LEFTOVERS)
            rename(written, name)
            written.rename(folder)
    except OSError as error:
        raise FileError(f"'{folder}' cannot be written: {error}. Choose another place: --to DIR.") from error
    return folder


def check_name(name: str) -> None:
    """Raise `ConfigurationError` unless a plugin can have this name."""
    package = package_name(name)
    problem = ""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 50:
        problem = "expected at most 50 small letters, digits and single '-', beginning with a letter"
    elif name == "mocha" or name.startswith("mocha-"):
        problem = "names with 'mocha' in front are the project's own"
    elif keyword.iskeyword(package) or package in sys.stdlib_module_names or find_spec(package) is not None:
        problem = f"'{package}' is a word of Python, or a module of this environment"
    if problem:
        raise ConfigurationError(f"A plugin cannot be named {name!r}: {problem}. Choose a name such as acme-swish.")


def template() -> Path:
    """The template: beside this file when it came in a wheel, among the examples in a source tree."""
    installed = Path(__file__).with_name("plugin_template")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "examples" / "plugin_template"


def rename(folder: Path, name: str) -> None:
    """Replace the template's names, in files and of folders, by those that follow from `name`."""
    names = {as_written(DISTRIBUTION): as_written(name) for as_written in (str, package_name, op_name, class_name)}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for old, new in names.items():
                text = text.replace(old, new)
            path.write_text(text, encoding="utf-8", newline="\n")
        if path.name in names:
            path.rename(path.with_name(names[path.name]))


def package_name(distribution: str) -> str:
    """The name of the package: acme_softplus."""
    return distribution.replace("-", "_")


def op_name(distribution: str) -> str:
    """The op's name, with its maker as a prefix, so that it is unique: acme.softplus."""
    maker, _, what = package_name(distribution).partition("_")
    return f"{maker}.{what or maker}"


def class_name(distribution: str) -> str:
    """The name of the op's class, and that of the layer without "Layer": AcmeSoftplus."""
    return "".join(part.capitalize() for part in distribution.split("-"))
