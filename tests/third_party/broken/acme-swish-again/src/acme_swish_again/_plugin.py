from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("SwishLayer", "acme_swish_again.nowhere:SwishLayer")
