from mocha_core import hookimpl


@hookimpl
def mocha_register_fusions(fusions):
    fusions.add("relu", "forward", "cpu", "acme_fusion.inner_product_relu:rewrite")


@hookimpl
def mocha_register_kernels(kernels):
    kernels.add("acme_inner_product_relu", "cpu", "acme_fusion.inner_product_relu:build")
