from mocha_core import hookimpl


@hookimpl
def mocha_register_kernels(kernels):
    kernels.add("max_pooling", "cpu", "acme_pooling.nowhere:build", priority=100)


@hookimpl
def mocha_register_layers(layers):
    layers.add("PoolingLayer", "acme_pooling.nowhere:PoolingLayer")
