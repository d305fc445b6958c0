from mocha_core import hookimpl


@hookimpl
def mocha_register_kernels(kernels):
    kernels.add("acme_swish", "cpu", "acme_swish_cpu.kernel:build")
