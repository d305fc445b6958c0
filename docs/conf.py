"""Configuration of Sphinx."""

import re
from importlib.metadata import version as version_of

project = "Mocha"
author = "The Mocha developers"
copyright = author
release = version = version_of("mocha-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Mocha {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "none"


def setup(app):
    """Docstrings have Markdown's code spans; Sphinx reads reStructuredText."""
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)


def as_restructured_text(app, what, name, obj, options, lines):
    """Double the backticks of code spans, and escape what has a meaning outside of them."""
    lines[:] = [re.sub(r"`([^`]+)`|([*|])|(?<=\w)(_)(?!\w)", rewritten, line) for line in lines]


def rewritten(match):
    """A code span, or a character that stands for itself."""
    # Text may follow a code span without a space, as an s does; reStructuredText wants an escaped one.
    return f"``{match[1]}``\\ " if match[1] else f"\\{match[0]}"
