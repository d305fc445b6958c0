"""`ValidationPerformance`: measures a test net on its whole data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core.api import CoffeeBreak, ConfigurationError, checks, logger

if TYPE_CHECKING:
    from mocha_core.api import Net, Solver

RULE = "-" * 57


class ValidationPerformance(CoffeeBreak):
    """Runs every row of `test_net`'s data once, from the beginning, and logs its statistics.

    It publishes "validation" with `statistics`, a dict such as {"test-accuracy-accuracy": 0.9605}. It does not
    destroy the test net, and does not move its data position.

    Raises:
        ConfigurationError: `test_net` is no net, or none of its layers has a statistic.
    """

    def __init__(self, test_net: Net) -> None:
        from mocha_core.api import Net

        checks.instance("ValidationPerformance", "test_net", test_net, Net, "Net('test', system, layers)")
        if not test_net.plan.statistics:
            raise ConfigurationError(
                f"ValidationPerformance: no layer of net '{test_net.name}' measures anything. Add one that "
                "does, such as an AccuracyLayer."
            )
        self.test_net = test_net

    def init(self, solver: Solver, net: Net) -> None:
        """Raise `ConfigurationError` if the test net has parameters and shares none of them with the trained net."""
        trained = set(map(id, net.states.values()))
        shared = {key: state for key, state in self.test_net.states.items() if not state.per_row}
        strays = [key for key, state in shared.items() if id(state) not in trained]
        way_out = "Put the same layer objects into both nets to share their parameters."
        if strays and len(strays) == len(shared):
            raise ConfigurationError(
                f"ValidationPerformance: net '{self.test_net.name}' shares no parameter with net '{net.name}', and "
                f"would not see its training. {way_out}"
            )
        if strays:
            message = "Net '%s' does not train %s of net '%s'. %s"
            logger.warning(message, net.name, ", ".join(strays), self.test_net.name, way_out)

    def enjoy(self, solver: Solver, net: Net) -> None:
        self.test_net.forward_epoch()
        shown = [f"  {line}" for line in self.test_net.show_statistics()]
        for line in ("", "## Performance on Validation Set", RULE, *shown, RULE, ""):
            logger.info(line)
        solver.publish("validation", statistics=self.test_net.statistics())
