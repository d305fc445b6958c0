"""Rows that come from HDF5 files, against h5py reading the same rows and against rows in memory; and nets fed by them.

    OPENBLAS_NUM_THREADS=1 python benchmarks/data.py [ROUNDS] > benchmarks/results/data.md

The rows are MNIST's digits, as float32 or uint8, in an order of their own. All contestants take turns in every round,
in minibatches of 64, and results are medians of the rounds. A round of reading is one epoch, so that no cache of chunks
serves it; a round of training is some iterations. Files lie in the cache of the disk.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from check_finite import lenet
from harness.machine import describe
from mocha_datasets.command import get_dataset

import mocha_core as mocha
from mocha_core import layers, neurons, solvers, transformers

BATCH, ROWS, COLUMNS, TABLE = 64, 45_056, 20, 1_000_000
ROUNDS, OF_LENET, OF_TABLE = 7, 40, 1000
IMAGE = (1, 28, 28)
CHUNKED = {"chunks": (64, *IMAGE)}
#: What `h5py.Group.create_dataset` is given, for each kind of data set.
KINDS = {
    "float32": {},
    "uint8": {"dtype": "u1"},
    "chunks of 64": CHUNKED,
    "chunks of 1": {"chunks": (1, *IMAGE)},
    "fletcher32": CHUNKED | {"fletcher32": True},
    "gzip": CHUNKED | {"compression": "gzip"},
    "gzip, chunks of 1250 x 4 x 4": {"compression": "gzip", "chunks": (1250, 1, 4, 4)},
    "gzip, shuffle": CHUNKED | {"compression": "gzip", "shuffle": True},
    "gzip, chunks of 1": {"compression": "gzip", "chunks": (1, *IMAGE)},
    "lzf": CHUNKED | {"compression": "lzf"},
    "lzf, shuffle": CHUNKED | {"compression": "lzf", "shuffle": True},
    "lzf, shuffle, fletcher32": CHUNKED | {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "lzf, chunks of 1": {"compression": "lzf", "chunks": (1, *IMAGE)},
    "lzf, shuffle, fletcher32, chunks of 1": {"compression": "lzf", "shuffle": True, "fletcher32": True}
    | {"chunks": (1, *IMAGE)},
    "uint8, gzip": CHUNKED | {"dtype": "u1", "compression": "gzip"},
    "uint8, lzf": CHUNKED | {"dtype": "u1", "compression": "lzf"},
}


def digits(folder):
    """Rows of pixels from 0 to 255, and their labels."""
    with h5py.File(folder / "train.hdf5") as file:
        pixels, labels = np.rint(file["data"][...] * 256).clip(0, 255), file["label"][...]
    rows = np.random.default_rng(0).integers(0, len(pixels), ROWS)
    return pixels[rows].astype("u1"), labels[rows]


def write(path, data, labels, options):
    """A file, and its rows in memory."""
    integers = options.get("dtype") == "u1"
    rows = data if integers else data.astype("f4") / 256
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=rows, **options)
        file.create_dataset("label", data=labels)
    return path


def medians(contestants, rounds, clock):
    """The seconds that each takes, in turns; the first round does not count."""
    taken = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name in list(contestants)[:: 1 if number % 2 else -1]:
            begin = clock()
            contestants[name]()
            taken[name].append(clock() - begin)
    return {name: np.median(times[1:], axis=0) for name, times in taken.items()}


def epoch(layer, shape, number=0):
    """A function that fetches an epoch from a source in minibatches."""
    source = layer.open(1)
    out, order = [np.empty((BATCH, *shape), "f4")], source.order(number)

    def run():
        for start in range(0, source.rows - BATCH + 1, BATCH):
            source.fetch(order[start : start + BATCH], 0, out)

    return run


def epoch_of_h5py(path, shape):
    dataset = h5py.File(path)["data"]
    out = np.empty((BATCH, *shape), "f4")

    def run():
        for start in range(0, len(dataset) - BATCH + 1, BATCH):
            out[...] = dataset[start : start + BATCH]

    return run


def hdf5(path, **options):
    return layers.HDF5DataLayer(name="data", source=path, batch_size=BATCH, **options)


def memory(arrays, tops=("data", "label"), shuffle=False):
    return layers.MemoryDataLayer(name="data", data=arrays, tops=tops, batch_size=BATCH, shuffle=shuffle)


def reading(files, arrays, shape, rounds):
    """Rows a second of each file: Mocha in order, h5py, and Mocha shuffled; and those in memory."""
    runs = {("memory", ""): epoch(memory(arrays, ["data"]), shape)}
    runs["memory", "shuffled"] = epoch(memory(arrays, ["data"], shuffle=True), shape)
    for name, path in files.items():
        runs[name, ""] = epoch(hdf5(path, tops=["data"]), shape)
        runs[name, "h5py"] = epoch_of_h5py(path, shape)
        runs[name, "shuffled"] = epoch(hdf5(path, tops=["data"], shuffle=True), shape)
    rows = len(arrays[0]) // BATCH * BATCH
    return {key: rows / seconds for key, seconds in medians(runs, rounds, time.thread_time).items()}


def table_of(rates, names):
    print("| data set | Mocha, rows/s | h5py | ratio | Mocha, shuffled |\n| --- | ---: | ---: | ---: | ---: |")
    for name in ("memory", *names):
        ours, theirs, shuffled = (rates.get((name, kind)) for kind in ("", "h5py", "shuffled"))
        compared = f"{theirs:,.0f} | {ours / theirs:.2f}" if theirs else "|"
        print(f"| {name} | {ours:,.0f} | {compared} | {shuffled:,.0f} |", flush=True)


def trained(data, body, loss, n):
    """A function that trains a net for n iterations."""
    system = mocha.System("native", seed=1, threads=1)
    system.backend.resident_bytes = 0  # rows are fetched, as those of larger data sets are
    net = mocha.Net("net", system, [data, *body, loss])
    solver = solvers.SGD(mocha.SolverParameters(max_iter=10**9, lr_policy=1e-4))
    program = net.runs.training_program(solver)
    return lambda: net.runs.train(program, n, 0, solver.schedule(0, n))


def training(sources, body, loss, n, rounds):
    """Prints the processor time of an iteration with rows from each source: of the net's thread, and of fetching.

    If the second is the smaller, a net on a processor of its own never waits for rows.
    """
    nets = {name: trained(data, body, loss, n) for name, data in sources.items()}
    times = medians(nets, rounds, lambda: np.array([time.thread_time(), time.process_time()]) / n * 1e3)
    print("| rows from | ms of the net | ms of fetching | together, times memory |\n| --- | ---: | ---: | ---: |")
    for name, (own, together) in times.items():
        print(f"| {name} | {own:.3f} | {together - own:.3f} | {together / times['memory'][1]:.2f} |", flush=True)


def tabular():
    return [
        layers.InnerProductLayer(name="h", output_dim=16, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.InnerProductLayer(name="ip", output_dim=2, bottoms=["h"], tops=["scores"]),
    ], layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])


def main(rounds=ROUNDS):
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        get_dataset("mnist").convert(None, folder, False)
        pixels, labels = digits(folder)
        files = {
            kind: write(folder / f"{number}.h5", pixels, labels, options)
            for number, (kind, options) in enumerate(KINDS.items())
        }
        images = pixels.astype("f4") / 256
        print(f"# Data\n\nRows of 28 x 28 a second, by the time of one thread, in minibatches of {BATCH}.\n")
        print("Shuffled rows are kept in memory after their first epoch, which is not counted.\n")
        table_of(reading(files, [images], IMAGE, rounds), files)
        print("\nLeNet, training, with one thread and one that fetches: milliseconds of processor time an iteration.")
        print("Where fetching takes less than the net, the net does not wait, if each thread has a processor.\n")
        _, body = lenet()
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["scores", "label"])
        sources = {"memory": memory([images, labels])}
        for kind, path in files.items():
            sources[kind] = hdf5(path, transformers=[("data", transformers.Scale(1 / 256))] if "uint8" in kind else [])
        training(sources, body, loss, OF_LENET, rounds)

        rng = np.random.default_rng(0)
        rows, classes = rng.standard_normal((TABLE, COLUMNS), dtype="f4"), rng.integers(0, 2, TABLE)
        files = {
            f"{kind} of {COLUMNS} columns": write_table(folder / f"table-{kind}.h5", rows, classes, options)
            for kind, options in {"float32": {}, "lzf": {"compression": "lzf"}, "gzip": {"compression": "gzip"}}.items()
        }
        print(f"\nA table of {TABLE:,} rows.\n")
        table_of(reading(files, [rows], (COLUMNS,), rounds), files)
        print(f"\nA net of {COLUMNS}, 16 and 2 units on that table, one thread.\n")
        body, loss = tabular()
        sources = {"memory": memory([rows, classes])} | {kind: hdf5(path) for kind, path in files.items()}
        training(sources, body, loss, OF_TABLE, rounds)
        print(f"\n{describe({'numpy': np.__version__, 'h5py': h5py.__version__})}")
        print(f"Medians of {rounds} rounds. Load average: {before:.1f} before, {os.getloadavg()[0]:.1f} after.")


def write_table(path, rows, classes, options):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=rows, **options)
        file.create_dataset("label", data=classes)
    return path


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
