"""Nesterov's update, compiled. A kernel that makes a gradient can call it block by block."""

from mocha_native.api import UpdateKernel, update

from acme_swish_native.library import LIBRARY


class CompiledNesterov(UpdateKernel):
    library = LIBRARY
    entry = "nesterov_forward"


build = update(CompiledNesterov)
