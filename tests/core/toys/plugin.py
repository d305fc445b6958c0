"""What the toys register, as a plugin object."""

from __future__ import annotations

from mocha_core import hookimpl

NAME = "mocha-toys"


@hookimpl
def mocha_register_backends(backends):
    backends.add("plain", "toys.plain:Plain")
    backends.add("blocked", "toys.blocked:Blocked")
    backends.add("deferred", "toys.deferred:Deferred")


@hookimpl
def mocha_register_kernels(kernels):
    kernels.add("toy.convolution", "blocked", "toys.blocked_convolution:build")
    kernels.add("toy.pooling", "blocked", "toys.blocked_pooling:build")
    kernels.add("toy.dot", "blocked", "toys.blocked_dot:build")
    kernels.add("toy.relu", "blocked", "toys.following_relu:build")
    kernels.add("toy.dropout", "blocked", "toys.saving_dropout:build")
    kernels.add("toy.half", "*", "toys.half:HostHalf")


class Folding:
    """Registered on its own by the tests of fusion."""

    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("toy.dot+sgd", "blocked", "toys.fold:build")

    @hookimpl
    def mocha_register_fusions(self, fusions):
        fusions.add("toy.sgd", "forward", "blocked", "toys.fold:rewrite")
