"""Configuration of Sphinx."""

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
