"""`SplitLayer`: several names for one blob."""

from __future__ import annotations

from mocha_core.api import Builder, ComputationLayer, ConfigurationError, Value


class SplitLayer(ComputationLayer):
    """Gives its bottom to every top, without a copy. The gradients of the tops add up in the bottom.

    New nets do not need it, because any number of layers may read one blob. It serves nets of Mocha 0.0.2 and Caffe.
    """

    def check(self) -> None:
        super().check()
        if len(self.bottoms) != 1 or not self.tops:
            raise ConfigurationError(
                f"{self}: expected one bottom and one or more tops, received bottoms {list(self.bottoms)} "
                f"and tops {list(self.tops)}."
            )

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        return bottoms * len(self.tops)
