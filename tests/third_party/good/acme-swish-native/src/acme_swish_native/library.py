"""The C kernels of this distribution."""

from mocha_native.api import Library

from acme_swish_native._kernels import lib

LIBRARY = Library("acme-swish-native", lib.acme_swish())
