"""Trains in child processes and sends them signals. A program of its own, so that it can fork: it has no threads.

    python interrupted.py FOLDER WANTED

A run is told to stop one to three times, gone on with each time, and then left in peace; and the next run, until
WANTED signals came while one was in `solve`. Prints a line of JSON for each run: what went wrong, and what became of
its signals.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

import mocha_core as mocha
from mocha_core import coffee, layers, neurons, solvers
from mocha_core.describe.layer import ComputationLayer
from mocha_core.describe.parameter import Initializer
from mocha_core.graph.op import Op
from mocha_core.train.coffee_break import CoffeeBreak
from mocha_core.train.solver import SolverParameters

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
VARIANTS = 6


class Zero(Initializer):
    def initialize(self, shape, random):
        return None


class Centre(Op):
    """x less a running mean of what came before, which it updates."""

    name = "soak.centre"
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
        return b.call(Centre(), x, b.state("mean", x.shape[1:], Zero()))


class Marks(CoffeeBreak):
    """Leaves a file where a signal must not kill: from the first thing that `solve` does to the last."""

    def __init__(self, folder):
        self.inside = folder / "inside"

    def init(self, solver, net):
        self.inside.touch()

    def destroy(self, solver, net):
        self.inside.unlink()


def write_data(folder):
    rng = np.random.default_rng(0)
    names = []
    for number, size in enumerate((13, 4, 14)):
        with h5py.File(folder / f"part{number}.hdf5", "w") as file:
            file.create_dataset("data", data=rng.standard_normal((size, 2, 3)), chunks=(3, 2, 3))
            file["label"] = rng.integers(0, 4, (size, 1)).astype("uint8")
        names.append(f"part{number}.hdf5\n")
    (folder / "list.txt").write_text("".join(names))


def train(source, folder, variant):
    """One of the variants, from the newest snapshot in the folder on."""
    choose = random.Random(variant)
    accumulate, every = choose.choice([1, 2, 3]), choose.choice([2, 3, 5])
    shuffle = variant % 2 == 0
    data = layers.HDF5DataLayer(name="data", source=source, batch_size=8, shuffle=shuffle)
    noise = np.random.default_rng(1).standard_normal((31, 6))
    extra = layers.MemoryDataLayer(name="extra", data=[noise], tops=["noise"], batch_size=8, shuffle=shuffle)
    body = [
        layers.InnerProductLayer(name="hidden", output_dim=6, neuron=neurons.ReLU(), bottoms=["data"], tops=["hidden"]),
        CentreLayer(name="centre", bottoms=["hidden"], tops=["centred"]),
        layers.DropoutLayer(name="dropout", ratio=0.4, bottoms=["centred"], tops=["centred"]),
        layers.ElementWiseLayer(name="add", bottoms=["centred", "noise"], tops=["sum"]),
        layers.InnerProductLayer(name="frozen", output_dim=5, bottoms=["sum"], tops=["frozen"]),
        layers.InnerProductLayer(name="output", output_dim=4, bottoms=["frozen"], tops=["output"]),
    ]
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["output", "label"])
    accuracy = layers.AccuracyLayer(name="accuracy", bottoms=["output", "label"])
    test_extra = replace(extra, data=[np.zeros((31, 6))])
    with mocha.System("cpu", seed=variant, threads=1) as system:
        net = mocha.Net("train", system, [data, extra, *body, loss])
        test_net = mocha.Net("test", system, [data, test_extra, *body, accuracy])
        if variant % 3 == 0:
            net.freeze("frozen")
        parameters = SolverParameters(
            max_iter=60 // accumulate,
            accumulate=accumulate,
            lr_policy=solvers.LRPolicy.Staged((9, solvers.LRPolicy.Inv(0.1, 0.1, 0.75)), (8, 0.03), (1, 0.01)),
            momentum=solvers.MomPolicy.Linear(0.5, 0.01, 2, 0.9),
        )
        solver = solvers.SGD(parameters)
        solver.add_coffee_break(Marks(folder), every_n_iter=1000)
        solver.add_coffee_break(coffee.TrainingSummary(), every_n_iter=2)
        solver.add_coffee_break(coffee.ValidationPerformance(test_net), every_n_epoch=1)
        solver.add_coffee_break(coffee.Snapshot(folder), every_n_iter=every)
        solver.solve(net)


def child(source, folder, variant, in_fsync=0, number=0):
    """Start a process that trains; with `in_fsync`, it sends itself a signal when it has written that often."""
    if pid := os.fork():
        return pid
    try:
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        if in_fsync:
            fsync, left = os.fsync, [in_fsync]

            def interrupted(file):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), number)
                fsync(file)

            os.fsync = interrupted
        train(source, folder, variant)
        os._exit(0)
    except SystemExit as error:
        os._exit(error.code)
    except KeyboardInterrupt:  # as the interpreter ends itself
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def events(folder):
    found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "time"} for event in found]


def result(folder):
    """What a run leaves: its last snapshot, and its history."""
    newest = max(folder.glob("snapshot-*.hdf5"))
    return newest.name, newest.read_bytes(), events(folder)


def trial(number, source, parent, whole, seconds):
    """What went wrong in a trial, and what became of its signals."""
    choose, variant, folder, fates = random.Random(number), number % VARIANTS, parent / f"trial{number}", []
    folder.mkdir()
    for _ in range(choose.randint(1, 3)):
        sent = choose.choice(SIGNALS)
        if choose.random() < 0.2:
            status = wait(child(source, folder, variant, choose.randint(1, 12), sent))
        else:
            pid = child(source, folder, variant)
            time.sleep(choose.uniform(0, seconds))
            os.kill(pid, sent)
            status = wait(pid)
        killed = status == -sent
        if status not in (0, 128 + sent, -sent) or (killed and (folder / "inside").exists()):
            return f"status {status} after {sent.name}: {(folder / 'log').read_text()[-3000:]}", fates
        fates.append("killed" if killed else "stopped" if status else "over")
        if not status:
            break
    status = wait(child(source, folder, variant))
    if status or (folder / "inside").exists():
        return f"the last run ended with {status}: {(folder / 'log').read_text()[-3000:]}", fates
    for what, one, other in zip(("name", "bytes", "history"), result(folder), whole, strict=True):
        if one != other:
            return f"another {what} than the uninterrupted run's", fates
    return "", fates


def main(parent, wanted):
    write_data(parent)
    source = parent / "list.txt"
    whole, seconds = {}, {}
    for variant in range(VARIANTS):
        folder = parent / f"whole{variant}"
        folder.mkdir()
        start = time.monotonic()
        if wait(child(source, folder, variant)):
            raise SystemExit((folder / "log").read_text())
        seconds[variant], whole[variant] = time.monotonic() - start, result(folder)
    for number in itertools.count():
        if wanted <= 0:
            return
        wrong, fates = trial(number, source, parent, whole[number % VARIANTS], seconds[number % VARIANTS])
        wanted -= fates.count("stopped")
        print(json.dumps({"number": number, "wrong": wrong, "fates": fates}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
