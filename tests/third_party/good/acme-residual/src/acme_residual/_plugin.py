from mocha_core import hookimpl


@hookimpl
def mocha_register_layers(layers):
    layers.add("ResidualLayer", "acme_residual.residual:ResidualLayer")
