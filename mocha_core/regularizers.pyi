"""Regularizers of the first-party plugins; written by tools/make_stubs.py."""

from mocha_layers_std.regularizers import L1Regu as L1Regu
from mocha_layers_std.regularizers import L2Regu as L2Regu
from mocha_layers_std.regularizers import NoRegu as NoRegu
