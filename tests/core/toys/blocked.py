"""Toy backend `blocked`: some kernels want blobs in lanes and weights turned; all others are plain."""

from __future__ import annotations

from mocha_core.compile.layout import PLAIN, Layouts
from toys.lanes import LANES, Turned
from toys.plain import Plain


class Blocked(Plain):
    name = "blocked"

    def __init__(self):
        self.turned = Turned()

    @property
    def weighted(self):
        """Layouts of a kernel of (blob, weight, bias) whose weight gradient is plain."""
        return Layouts(ins=(LANES, self.turned), outs=(LANES,), gradients=(LANES, PLAIN))


def store(target, result, add):
    """Overwrite or add, if wanted at all."""
    if target is not None:
        target[...] = target + result if add else result
