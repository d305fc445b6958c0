"""`TrainingSummary`: logs the objective of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core.api import CoffeeBreak, logger
from mocha_solvers_std.staged import Staged

if TYPE_CHECKING:
    from mocha_core.api import Net, Solver


class TrainingSummary(CoffeeBreak):
    """Logs the objective of the minibatch before the last update, and the switches of staged policies.

    It logs nothing at iteration 0, where there is no objective yet. It publishes "training" with `objective` and
    `learning_rate`.
    """

    def __init__(self) -> None:
        self._stages: dict[str, int] = {}

    def init(self, solver: Solver, net: Net) -> None:
        self._stages = {}

    def enjoy(self, solver: Solver, net: Net) -> None:
        state = solver.state
        if state.iteration:
            logger.info("%06d :: TRAIN obj-val = %.8f", state.iteration, state.objective)
            solver.publish("training", objective=state.objective, learning_rate=state.learning_rate)
        for policy in solver.policies.values():
            if isinstance(policy, Staged) and state.iteration < solver.parameters.max_iter:
                self._report_stage(policy, state.iteration)

    def _report_stage(self, policy: Staged, iteration: int) -> None:
        stage = policy.stage(iteration)
        if stage != self._stages.get(policy.quantity, 1):
            logger.info("Staged %s policy: switching to stage %d", policy.quantity, stage)
        self._stages[policy.quantity] = stage
