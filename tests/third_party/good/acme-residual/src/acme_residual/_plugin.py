from mocha_core import hookimpl
from mocha_core.plugin.registry import Registry


@hookimpl
def mocha_register_layers(layers: Registry) -> None:
    layers.add("ResidualLayer", "acme_residual.residual:ResidualLayer")
