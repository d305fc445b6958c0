"""The reference has an entry for every registered name, for every name of the authors' face, and for every error."""

import runpy
from pathlib import Path

import pytest

from mocha_core import errors

ROOT = Path(__file__).parents[2]
PAGES = runpy.run_path(str(ROOT / "tools" / "make_reference.py"))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == PAGES[path], "run `python tools/make_reference.py`"


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [path.stem for path in PAGES if f"reference/{path.stem}\n" not in index] == []
    assert {path.name for path in (ROOT / "docs" / "reference").glob("*.md")} == {path.name for path in PAGES}


def test_well_known_names_have_their_entry():
    entries = {path.stem: text for path, text in PAGES.items()}
    assert "## `ConvolutionLayer`" in entries["layers"]
    assert "## `SGD`" in entries["solvers"]
    assert "## `mocha plugins`" in entries["commands"]
    assert ".. autoclass:: mocha_core.graph.op.Op\n" in entries["api"]


def test_errors_are_documented_by_their_module():
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert ".. automodule:: mocha_core.errors\n   :members:\n" in reference
    assert [kind for kind in kinds_of_errors(errors.MochaError) if not kind.__doc__] == []


def kinds_of_errors(kind):
    """A class and all that inherit from it."""
    derived = [found for found in kind.__subclasses__() if found.__module__ == errors.__name__]
    return [kind, *(found for one in derived for found in kinds_of_errors(one))]
