"""A third party's coffee break."""

import numpy as np
from lenet import lenet, train

import mocha_core as mocha
from mocha_core import coffee, solvers
from mocha_core.testing import CoffeeBreakTests


class TestParameterNorms(CoffeeBreakTests):
    def make(self, folder, net):
        return coffee.ParameterNorms()


def test_it_publishes_what_it_saw(digits):
    class Listening(solvers.SGD):
        def __init__(self, parameters):
            super().__init__(parameters)
            self.listeners.append(events.append)

    events = []
    with mocha.System("cpu", seed=1) as system:
        net = lenet(system, digits)
        _, parameters = train(net, 4, Listening, [(coffee.ParameterNorms(), 2)])
    assert [(event["event"], event["iteration"]) for event in events] == [("norms", 0), ("norms", 2), ("norms", 4)]
    assert events[-1]["norms"] == {key: float(np.linalg.norm(array)) for key, array in parameters.items()}
    assert events[0]["norms"]["conv1___bias"] == 0 < events[2]["norms"]["conv1___bias"]
