"""Configuration of Sphinx."""

from importlib.metadata import version as version_of

project = "Mocha"
author = "The Mocha developers"
copyright = author
release = version = version_of("mocha-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"Mocha {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
