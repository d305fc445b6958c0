import acme_missing  # noqa: F401

from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("NeverLayer", "acme_import_error.nowhere:NeverLayer")
