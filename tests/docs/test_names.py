"""What the documentation names is there: signatures, modules, files, hooks."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from mocha_core.plugin import hookspecs

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}
GUIDE = [name for name in PAGES if name.startswith("dev-guide/")]
SIGNATURE = re.compile(r"^## `(mocha_core[\w.]+)\((.*)\)`$", re.MULTILINE)


def resolve(name):
    """What a dotted name stands for."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", GUIDE)
def test_a_page_of_the_guide_starts_with_a_signature_and_then_code(page):
    title, heading, *_ = re.split(r"^(?=## )", PAGES[page], flags=re.MULTILINE)
    assert re.fullmatch(r"# .+\n\n", title)
    assert SIGNATURE.match(heading), heading
    prose, _, _ = heading.partition("```")
    assert len(prose) < 600, "the example comes first"


@pytest.mark.parametrize("page", PAGES)
def test_signatures_are_those_of_the_code(page):
    for name, written in SIGNATURE.findall(PAGES[page]):
        parameters = inspect.signature(resolve(name)).parameters.values()
        # `**_` is there for type checkers: it lets subclasses name their arguments.
        names = [str(p.replace(annotation=p.empty)) for p in parameters if p.name not in ("self", "_")]
        assert written == ", ".join(names), name


@pytest.mark.parametrize("page", PAGES)
def test_dotted_names_are_there(page):
    for name in re.findall(r"`(mocha_core(?:\.\w+)+)", PAGES[page]):
        resolve(name)


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_tree_are_there(page):
    for path in re.findall(r"`((?:mocha_core|plugins|tests|examples|tools|benchmarks)/[\w./-]+)`", PAGES[page]):
        assert (ROOT / path).exists(), path


def test_every_hook_is_explained():
    hooks = [name for name in vars(hookspecs) if name.startswith("mocha_")]
    assert len(hooks) > 10
    assert [hook for hook in hooks if hook not in PAGES["dev-guide/publish-a-plugin.md"]] == []
