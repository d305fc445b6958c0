"""Same seed, same bytes; stopped and resumed, the bytes of the uninterrupted run."""

import json

import h5py
import numpy as np
import pytest

import mocha_core as mocha
from mocha_core import coffee, initializers, layers, neurons, solvers, transformers
from mocha_core.describe.layer import ComputationLayer, DataLayer
from mocha_core.describe.source import Source
from mocha_core.graph.op import Op
from mocha_core.graph.value import Spec
from mocha_core.testing import sample_net
from mocha_core.train.coffee_break import CoffeeBreak

ITERATIONS = 23
LR, MOM = solvers.LRPolicy, solvers.MomPolicy
POLICIES = {"lr_policy": LR.Staged((9, LR.Inv(0.1, 0.1, 0.75)), (1, 0.03)), "momentum": MOM.Linear(0.5, 0.01, 2, 0.9)}


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
    """Ends the training: in good order, or in the middle of its breaks."""

    def __init__(self, at, order):
        self.at, self.order = at, order

    def enjoy(self, solver, net):
        if solver.state.iteration == self.at:
            if not self.order:
                raise KeyboardInterrupt
            solver.stop()


class Centre(Op):
    """x less a running mean of what came before."""

    name = "resume.centre"
    backward_reads = ()
    updates = (1,)
    differentiable = (0,)

    def infer(self, x, mean):
        return (x,)

    def forward(self, xp, x, mean):
        return x - mean, 0.8 * mean + 0.2 * xp.mean(x, axis=0)

    def backward(self, xp, dy, x, y, wanted):
        return dy[0], None


class CentreLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Centre(), x, b.state("mean", x.shape[1:], initializers.NullInitializer()))


@pytest.fixture
def train(source):
    def train(
        folder,
        stop=None,
        order=False,
        seed=7,
        accumulate=1,
        shuffle=True,
        every=5,
        more=False,
        states=False,
        frozen=(),
        backend="cpu",
        **policies,
    ):
        data = layers.HDF5DataLayer(name="data", source=source, batch_size=8, shuffle=shuffle)
        hidden = layers.InnerProductLayer(
            name="hidden", output_dim=6, neuron=neurons.ReLU(), bottoms=["data"], tops=["hidden"]
        )
        noise = np.random.default_rng(1).standard_normal((31, 6))
        extra = [
            layers.MemoryDataLayer(name="extra", data=[noise], tops=["noise"], batch_size=8, shuffle=shuffle),
            layers.ElementWiseLayer(name="add", bottoms=["hidden", "noise"], tops=["hidden"]),
            CentreLayer(name="centre", bottoms=["hidden"], tops=["hidden"]),
        ]
        kept = [
            sample_net.CentreLayer(name="follow", bottoms=["hidden"], tops=["hidden"]),
            sample_net.CarryLayer(name="carry", bottoms=["hidden"], tops=["hidden"]),
        ]
        dropout = layers.DropoutLayer(name="dropout", ratio=0.4, bottoms=["hidden"], tops=["dropped"])
        output = layers.InnerProductLayer(name="output", output_dim=4, bottoms=["dropped"], tops=["output"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["output", "label"])
        accuracy = layers.AccuracyLayer(name="accuracy", bottoms=["output", "label"])
        between = [*(extra if more else []), *(kept if states else [])]
        with mocha.System(backend, seed=seed, threads=1) as system:
            net = mocha.Net("train", system, [data, hidden, *between, dropout, output, loss])
            net.freeze(*frozen)
            test_net = mocha.Net("test", system, [data, hidden, dropout, output, accuracy])
            parameters = mocha.SolverParameters(max_iter=ITERATIONS, accumulate=accumulate, **(POLICIES | policies))
            solver = solvers.SGD(parameters)
            solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=2)
            solver.add_coffee_break(coffee.ValidationPerformance(test_net), every_n_epoch=1)
            solver.add_coffee_break(coffee.Snapshot(folder), every_n_iter=every)
            if stop is not None:
                solver.add_coffee_break(Stop(stop, order), every_n_iter=1)
            try:
                solver.solve(net)
            except KeyboardInterrupt:
                assert solver.state.iteration == stop
                assert not order
            finally:
                net.destroy()
                test_net.destroy()
        files = sorted(folder.glob("snapshot-*"))
        return {path.name: path.read_bytes() for path in files}

    return train


def events(folder):
    found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "time"} for event in found]


OPTIONS = {
    "plain": {},
    "accumulate": {"accumulate": 3},
    "in order": {"shuffle": False},
    "two data layers and a running mean": {"more": True},
    "the same, accumulated, partly frozen": {"more": True, "accumulate": 2, "frozen": ["hidden"]},
    "states of each kind": {"states": True},
    "states of each kind, native": {"states": True, "backend": "native"},
    "states of each kind, native, accumulated": {"states": True, "backend": "native", "accumulate": 3},
    "fixed": {"lr_policy": LR.Fixed(0.05), "momentum": MOM.Fixed(0.7)},
    "numbers": {"lr_policy": 0.05, "momentum": 0.7},
    "step": {"lr_policy": LR.Step(0.1, 0.5, 4), "momentum": MOM.Step(0.3, 1.1, 4, 0.8)},
    "exponential": {"lr_policy": LR.Exp(0.1, 0.9), "momentum": MOM.Staged((4, 0.2), (9, MOM.Linear(0.1, 0.1, 3, 0.6)))},
    "inverse": {"lr_policy": LR.Inv(0.1, 0.1, 0.75)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_two_runs_and_an_interrupted_one_are_equal_to_the_byte(train, tmp_path, name):
    options = OPTIONS[name]
    whole = train(tmp_path / "whole", **options)
    assert [*whole] == [f"snapshot-{i:06d}.hdf5" for i in (5, 10, 15, 20, 23)]
    if name in ("plain", "two data layers and a running mean"):
        assert train(tmp_path / "again", **options) == whole
        assert events(tmp_path / "again") == events(tmp_path / "whole")
    for stop in (3, 5, 11, 16):  # before the first snapshot, at one, in the second stage, and soon after that
        train(tmp_path / "resumed", stop, **options)
    assert train(tmp_path / "resumed", **options) == whole
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


def test_states_are_saved_with_their_dtypes(train, tmp_path):
    train(tmp_path / "run", every=23, states=True, accumulate=2)
    with h5py.File(tmp_path / "run" / "snapshot-000023.hdf5") as file:
        found = {}
        file.visititems(lambda name, node: found.update({name.rsplit("/", 1)[-1]: node}))
        assert (found["follow___count"].dtype, found["follow___count"][()]) == (np.int64, 46)
        assert (found["carry___carried"].dtype, found["carry___carried"].shape) == (np.float32, (8, 6))


@pytest.mark.parametrize("name", ["plain", "the same, accumulated, partly frozen"])
def test_a_run_that_was_told_to_stop_is_saved_and_goes_on_from_there(train, tmp_path, name):
    whole = train(tmp_path / "whole", **OPTIONS[name])
    for stop in (3, 5, 11, 16):
        files = train(tmp_path / "resumed", stop, order=True, **OPTIONS[name])
        assert f"snapshot-{stop:06d}.hdf5" in files
    resumed = train(tmp_path / "resumed", **OPTIONS[name])
    assert {key: resumed[key] for key in whole} == whole
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


def test_what_is_saved_depends_on_the_seed(train, tmp_path):
    """So that the test above compares something."""
    first, second = train(tmp_path / "a", seed=1), train(tmp_path / "b", seed=2)
    assert all(first[name] != second[name] for name in first)


def test_how_often_snapshots_are_taken_changes_nothing(train, tmp_path):
    often, seldom = train(tmp_path / "a", every=1), train(tmp_path / "b", every=23)
    assert len(often) == 23
    assert seldom == {"snapshot-000023.hdf5": often["snapshot-000023.hdf5"]}


@pytest.mark.parametrize("backend", ["cpu", "native"])
def test_a_run_with_augmentation_is_resumed_exactly(source, tmp_path, backend):
    """Mirrored rows and a source that draws, over six epochs."""

    def run(stop):
        data = layers.HDF5DataLayer(
            name="data",
            source=source,
            batch_size=8,
            shuffle=True,
            transformers=[("data", transformers.SubMean(0.1)), ("data", transformers.Mirror(0.4))],
        )
        noise = NoiseLayer(name="noise-data", tops=["noise"], batch_size=8, shuffle=True)
        hidden = layers.InnerProductLayer(name="hidden", output_dim=6, bottoms=["data"], tops=["hidden"])
        noisy = layers.ElementWiseLayer(name="noisy", bottoms=["hidden", "noise"], tops=["noisy"])
        output = layers.InnerProductLayer(name="output", output_dim=4, bottoms=["noisy"], tops=["output"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["output", "label"])
        with mocha.System(backend, seed=2, threads=1) as system:
            net = mocha.Net("train", system, [data, noise, hidden, noisy, output, loss])
            solver = solvers.SGD(mocha.SolverParameters(max_iter=stop, lr_policy=0.1))
            solver.add_coffee_break(coffee.Snapshot(tmp_path / backend, auto_load=True), every_n_iter=50)
            solver.solve(net)
            assert solver.state.iteration == stop
            states = {key: state.numpy().tobytes() for key, state in net.states.items()}
            slots = {key: system.read(value).tobytes() for key, value in solver.memories(net).items()}
            net.destroy()
            return states | slots

    for stop in (5, 11):
        run(stop)
    resumed = run(ITERATIONS)
    for path in (tmp_path / backend).iterdir():
        path.unlink()
    assert resumed == run(ITERATIONS)


class Noise(Source):
    """Rows that are drawn for their epoch and number."""

    rows, specs = 31, (Spec((6,), "float32"),)

    def __init__(self, seed):
        self.seed = seed

    def fetch(self, rows, epoch, out):
        for row, target in zip(rows, out[0], strict=True):
            target[...] = np.random.default_rng([self.seed, epoch, row]).standard_normal(6)


class NoiseLayer(DataLayer):
    shuffle: bool = False

    def open(self, seed):
        return Noise(seed)
