from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("SwishLayer", "acme_swish.swish:SwishLayer")


@hookimpl
def mocha_register_ops(ops):
    ops.add("acme_swish", "acme_swish.swish:Swish")
