"""Same seed, same bytes; stopped and resumed, the bytes of the uninterrupted run."""

import json

import h5py
import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import coffee, layers, neurons, solvers
from mocha_core.coffee_break import CoffeeBreak

ITERATIONS = 23


@pytest.fixture
def source(tmp_path):
    """A list of three HDF5 files, 31 samples in all: no minibatch of 8 fits them."""
    random = np.random.default_rng(0)
    with open(tmp_path / "list.txt", "w") as source_list:
        for number, size in enumerate((13, 4, 14)):
            with h5py.File(tmp_path / f"part{number}.hdf5", "w") as file:
                file.create_dataset("data", data=random.standard_normal((size, 2, 3)), chunks=(3, 2, 3))
                file["label"] = random.integers(0, 4, (size, 1)).astype("uint8")
            source_list.write(f"part{number}.hdf5\n")
    return tmp_path / "list.txt"


class Stop(CoffeeBreak):
    """Ends the training as Ctrl-C would."""

    def __init__(self, at):
        self.at = at

    def enjoy(self, solver, net):
        if solver.state.iteration == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def train(source):
    def train(folder, stop=None, seed=7, accumulate=1, shuffle=True, every=5):
        data = layers.HDF5DataLayer(name="data", source=source, batch_size=8, shuffle=shuffle)
        hidden = layers.InnerProductLayer(
            name="hidden", output_dim=6, neuron=neurons.ReLU(), bottoms=["data"], tops=["hidden"]
        )
        dropout = layers.DropoutLayer(name="dropout", ratio=0.4, bottoms=["hidden"], tops=["dropped"])
        output = layers.InnerProductLayer(name="output", output_dim=4, bottoms=["dropped"], tops=["output"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["output", "label"])
        accuracy = layers.AccuracyLayer(name="accuracy", bottoms=["output", "label"])
        with mocha.System("cpu", seed=seed, threads=1) as system:
            net = mocha.Net("train", system, [data, hidden, dropout, output, loss])
            test_net = mocha.Net("test", system, [data, hidden, dropout, output, accuracy])
            parameters = mocha.SolverParameters(
                max_iter=ITERATIONS,
                accumulate=accumulate,
                lr_policy=solvers.LRPolicy.Staged((9, solvers.LRPolicy.Inv(0.1, 0.1, 0.75)), (1, 0.03)),
                momentum=solvers.MomPolicy.Linear(0.5, 0.01, 2, 0.9),
            )
            solver = solvers.SGD(parameters)
            solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=2)
            solver.add_coffee_break(coffee.ValidationPerformance(test_net), every_n_epoch=1)
            solver.add_coffee_break(coffee.Snapshot(folder), every_n_iter=every)
            if stop is not None:
                solver.add_coffee_break(Stop(stop), every_n_iter=1)
            try:
                solver.solve(net)
            except KeyboardInterrupt:
                assert solver.state.iteration == stop
            finally:
                net.destroy()
                test_net.destroy()
        files = sorted(folder.glob("snapshot-*"))
        return {path.name: path.read_bytes() for path in files}

    return train


def events(folder):
    found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "time"} for event in found]


@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 3}, {"shuffle": False}], ids=["plain", "accumulate", "in order"]
)
def test_two_runs_and_an_interrupted_one_are_equal_to_the_byte(train, tmp_path, options):
    whole = train(tmp_path / "whole", **options)
    assert [*whole] == [f"snapshot-{i:06d}.hdf5" for i in (5, 10, 15, 20, 23)]
    assert train(tmp_path / "again", **options) == whole
    for stop in (3, 5, 11, 16):  # before the first snapshot, at one, in the second stage, and soon after that
        train(tmp_path / "resumed", stop, **options)
    assert train(tmp_path / "resumed", **options) == whole
    assert events(tmp_path / "resumed") == events(tmp_path / "whole") == events(tmp_path / "again")


def test_what_is_saved_depends_on_the_seed(train, tmp_path):
    """So that the test above compares something."""
    first, second = train(tmp_path / "a", seed=1), train(tmp_path / "b", seed=2)
    assert all(first[name] != second[name] for name in first)


def test_how_often_snapshots_are_taken_changes_nothing(train, tmp_path):
    often, seldom = train(tmp_path / "a", every=1), train(tmp_path / "b", every=23)
    assert len(often) == 23
    assert seldom == {"snapshot-000023.hdf5": often["snapshot-000023.hdf5"]}
