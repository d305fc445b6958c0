"""`ElementByElement`: the base class of the neurons' ops."""

from __future__ import annotations

from mocha_core.api import Op, Spec
from mocha_layers_std import received


class ElementByElement(Op):
    """An op whose y has x's shape and dtype and depends on x element by element. Its gradient follows from y."""

    backward_reads = ("y0",)

    def infer(self, x: Spec) -> tuple[Spec, ...]:
        received.floating(x)
        return (x,)
