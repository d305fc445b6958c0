"""Cells are known by name: one that no schedule fills is refused when the program is made."""

import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.observe import parameters, train
from toys.plain import Plain
from toys.sgd import SGD, Sgd
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.errors import UnknownNameError
from mocha_core.graph.cells import Cell


class Reading(Layer):
    cell: str = ""

    def build(self, b, x):
        assert b.cell(self.cell).shape == ()
        return (x,)


def layers(*more):
    dense = InnerProductLayer(name="y", output_dim=3, bottoms=["data"], tops=["y"])
    return [nets.data(), dense, *more, SquareLossLayer(name="loss", bottoms=["y", "target"])]


@pytest.mark.parametrize("name", ["status", "iteration", Cell.STATUS, Cell.ITERATION])
def test_a_layer_names_a_cell_by_string_or_member(name):
    train(Plain(), layers(Reading(name="reading", cell=name, bottoms=["data"], tops=["same"])))


@pytest.mark.parametrize("name", ["valid_row", "learning_rate", ""])
def test_a_layer_that_reads_an_unknown_cell_is_refused(name):
    reading = Reading(name="reading", cell=name, bottoms=["data"], tops=["same"])
    with mocha.System(Plain()) as system, pytest.raises(UnknownNameError, match=f"reading.*no cell '{name}'.*status"):
        mocha.Net("net", system, layers(reading))


class Misspelt(Sgd):
    name = "toy.misspelt"
    cells = ("learnig_rate", "momentum")


class MisspeltSGD(SGD):
    update_op = Misspelt


class Scheduled(MisspeltSGD):
    def schedule(self, first, n):
        columns = super().schedule(first, n)
        return columns | {"learnig_rate": columns["learning_rate"]}


def test_a_solver_that_reads_a_cell_that_no_schedule_fills_is_refused():
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, layers())
        with pytest.raises(UnknownNameError, match=r"no cell 'learnig_rate'.*learning_rate"):
            MisspeltSGD(parameters()).solve(net)
        Scheduled(parameters()).solve(net)
