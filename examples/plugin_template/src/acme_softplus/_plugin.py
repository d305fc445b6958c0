"""The registrations of this distribution. This module imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_layers(layers: Registry) -> None:
    layers.add("AcmeSoftplusLayer", "acme_softplus.layer:AcmeSoftplusLayer")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    ops.add("acme.softplus", "acme_softplus.layer:AcmeSoftplus")
