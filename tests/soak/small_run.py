"""A short training run with snapshots: `python small_run.py FOLDER ITERATIONS ON_ERROR`; 3 if a file cannot be used."""

import logging
import sys
from io import StringIO
from pathlib import Path

import numpy as np

import mocha_core as mocha
from mocha_core import coffee, layers, solvers
from mocha_core.train.coffee_break import CoffeeBreak


class Report(CoffeeBreak):
    """Calls a function with the iteration at every break."""

    def __init__(self, function):
        self.function = function

    def enjoy(self, solver, net):
        self.function(solver.state.iteration)


def train(folder, iterations, before=None, after=None, **options):
    """Train with a snapshot at every iteration; returns the parameters and the iteration.

    `before` and `after` a snapshot is saved, they are called with the iteration.
    """
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((12, 6)), random.integers(0, 3, (12, 1))]
    data = layers.MemoryDataLayer(name="data", tops=["data", "label"], data=arrays, batch_size=5)
    scores = layers.InnerProductLayer(name="scores", output_dim=3, bottoms=["data"], tops=["scores"])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])
    with mocha.System("cpu", seed=1, threads=1) as system:
        net = mocha.Net("net", system, [data, scores, loss])
        solver = solvers.SGD(mocha.SolverParameters(max_iter=iterations, lr_policy=0.01))
        steps = [before and Report(before), coffee.TrainingSummary(), coffee.Snapshot(folder, **options)]
        for step in filter(None, [*steps, after and Report(after)]):
            solver.add_coffee_break(step, every_n_iter=1)
        solver.solve(net)
        return {key: state.numpy().tobytes() for key, state in net.states.items()}, solver.state.iteration


if __name__ == "__main__":
    messages = StringIO()  # shown at the end, so that until then all writing is that of files
    logging.getLogger("mocha").addHandler(logging.StreamHandler(messages))
    status = 0
    try:
        train(Path(sys.argv[1]), int(sys.argv[2]), on_error=sys.argv[3])
    except mocha.MochaError as error:
        print(error, file=messages)
        status = 3
    print(messages.getvalue())
    sys.exit(status)
