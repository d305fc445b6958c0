from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("OldLayer", "acme_old.nowhere:OldLayer")
