"""Transformers of the first-party plugins; written by tools/make_stubs.py."""

from mocha_layers_std.transformers import Mirror as Mirror
from mocha_layers_std.transformers import Scale as Scale
from mocha_layers_std.transformers import SubMean as SubMean
