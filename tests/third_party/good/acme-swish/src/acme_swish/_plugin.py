from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_layers(layers: Registry) -> None:
    layers.add("SwishLayer", "acme_swish.swish:SwishLayer")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    ops.add("acme.swish", "acme_swish.swish:Swish")
