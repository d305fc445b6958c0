"""`SplitLayer`: several names for one blob."""

from __future__ import annotations

from mocha_core.api import Builder, ComputationLayer, ConfigurationError, Value


class SplitLayer(ComputationLayer):
    """Gives its bottom to every top. Copies nothing; the gradients of the tops add up in the bottom.

    No net needs it, since any number of layers may read one blob: it is here for nets that have it.
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
