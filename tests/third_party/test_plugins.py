"""Each third party's distribution, by the kit's test class for distributions."""

from mocha_core.testing import PluginTests


class TestAcmeSwish(PluginTests):
    distribution = "acme-swish"


class TestAcmeResidual(PluginTests):
    distribution = "acme-residual"


class TestAcmeSwishCPU(PluginTests):
    distribution = "acme-swish-cpu"


class TestAcmeFusion(PluginTests):
    distribution = "acme-fusion"


class TestAcmeBackend(PluginTests):
    distribution = "acme-backend"


class TestAcmeSolver(PluginTests):
    distribution = "acme-solver"


class TestAcmeCoffee(PluginTests):
    distribution = "acme-coffee"


class TestAcmeNPZ(PluginTests):
    distribution = "acme-npz"


class TestAcmeSwishNative(PluginTests):
    distribution = "acme-swish-native"


class TestAcmeSwishCUDA(PluginTests):
    distribution = "acme-swish-cuda"
