"""The distributions of the tree in the kit's tests."""

from mocha_core.testing import PluginTests


class TestLayers(PluginTests):
    distribution, prefix = "mocha-layers-std", ""


class TestSolvers(PluginTests):
    distribution, prefix = "mocha-solvers-std", ""


class TestCPU(PluginTests):
    distribution = "mocha-cpu"


class TestNative(PluginTests):
    distribution = "mocha-native"
    prefix = "native."


class TestHDF5(PluginTests):
    distribution = "mocha-hdf5"


class TestDatasets(PluginTests):
    distribution = "mocha-datasets"
