"""`ParameterNorms`: how large the parameters are."""

import numpy as np

from mocha_core.api import CoffeeBreak, Net, Solver, logger


class ParameterNorms(CoffeeBreak):
    """Logs the Euclidean norm of each parameter, and publishes "norms" with all of them."""

    def enjoy(self, solver: Solver, net: Net) -> None:
        norms = {key: float(np.linalg.norm(state.numpy())) for key, state in net.states.items()}
        for key, norm in norms.items():
            logger.info("%06d :: |%s| = %.6f", solver.state.iteration, key, norm)
        solver.publish("norms", norms=norms)
