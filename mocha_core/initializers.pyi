"""Initializers of the first-party plugins; written by tools/make_stubs.py."""

from mocha_layers_std.initializers import ConstantInitializer as ConstantInitializer
from mocha_layers_std.initializers import GaussianInitializer as GaussianInitializer
from mocha_layers_std.initializers import NullInitializer as NullInitializer
from mocha_layers_std.initializers import XavierInitializer as XavierInitializer
