"""Transformers of all installed plugins."""

from mocha_core.plugin.namespace import fill

__getattr__, __dir__ = fill("transformers")
