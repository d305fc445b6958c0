"""The backends of the tree, and the kit's own, in the kit's tests."""

from mocha_core.testing import BackendTests
from mocha_core.testing.backends import ReferenceBackend, StrictBackend


class TestCPU(BackendTests):
    backend = "cpu"


class TestNative(BackendTests):
    backend = "native"


class TestReference(BackendTests):
    backend = ReferenceBackend


class TestStrict(BackendTests):
    backend = StrictBackend
