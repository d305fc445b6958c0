"""The coffee breaks of the tree in the kit's tests."""

from mocha_core import coffee
from mocha_core.net.net import Net
from mocha_core.testing import CoffeeBreakTests, sample_net


class TestTrainingSummary(CoffeeBreakTests):
    kind = coffee.TrainingSummary

    def make(self, folder, net):
        return coffee.TrainingSummary()


class TestProgressBar(CoffeeBreakTests):
    kind = coffee.ProgressBar

    def make(self, folder, net):
        return coffee.ProgressBar()


class TestSnapshot(CoffeeBreakTests):
    kind = coffee.Snapshot

    def make(self, folder, net):
        return coffee.Snapshot(folder / "snapshots")


class TestValidationPerformance(CoffeeBreakTests):
    kind = coffee.ValidationPerformance

    def make(self, folder, net):
        return coffee.ValidationPerformance(Net("validation", net.system, [sample_net.data(), *net.layers[1:]]))
