"""Feeds mutated files to one reader: `python mutating.py READER FIRST LAST FOLDER` prints what became of the trials.

Trials run in batches in forked processes, so that a crash or a hang is seen, and is that of one trial.
"""

import gzip
import hashlib
import json
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np
from mocha_datasets.cifar10 import CIFAR10
from mocha_datasets.mnist import MNIST
from mocha_solvers_std.history import History

import mocha_core as mocha
from mocha_core import coffee, layers, solvers
from mocha_core.errors import MochaError
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.train.formats import format_of
from mocha_core.train.snapshot import restore

BATCH = 250
SEAL = 512
INTERESTING = [0, 1, 2, 3, 7, 8, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def mutate(rng, content, other):
    """A content with a few changes: of bits, bytes and numbers, of length, and pieces of elsewhere."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data)) if data else 0
        if rng.random() < 0.8:  # near what is not zero: there is the structure
            at = next((i for i in range(at, len(data)) if data[i]), at)
        what = rng.randrange(12)
        if what < 2:
            data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data else b""
        elif what < 4:
            data[at : at + 1] = bytes([rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
        elif what < 8:
            width = rng.choice((2, 4, 8, 8))
            at -= at % width if rng.random() < 0.7 else 0
            number = rng.choice((rng.choice(INTERESTING), rng.randrange(len(data) + 1), len(data), len(data) * 2))
            order = "big" if rng.random() < 0.2 else "little"
            data[at : at + width] = (number % 256**width).to_bytes(width, order)
        elif what == 8:
            del data[at:]
        elif what == 9:
            data += rng.choice((bytes(rng.randrange(1, 5000)), rng.randbytes(rng.randrange(1, 100))))
        elif what == 10 and other:
            start, size = rng.randrange(len(other)), rng.choice((8, 64, 512, 5000))
            data[at : at + size] = other[start : start + size]
        else:
            start, size = rng.randrange(len(data) + 1), rng.choice((1, 8, 64, 512))
            data[at : at + (size if rng.random() < 0.8 else 0)] = data[start : start + size]
    return bytes(data)


def hdf5(**arrays):
    """Files that hold the same in several ways."""
    ways = [
        {},
        {"chunks": True, "compression": "gzip", "shuffle": True},
        {"chunks": True, "fletcher32": True},
        {"chunks": True, "compression": "lzf", "maxshape": True},
        {"chunks": True, "scaleoffset": 4},
        {"chunks": (2,), "shuffle": True},
    ]
    seeds = []
    for libver in ("earliest", "latest"):
        for way in ways:
            path = Path(f"seed-{len(seeds)}.hdf5")
            with h5py.File(path, "w", libver=libver) as file:
                for name, array in arrays.items():
                    options = dict(way) if array.ndim else {}
                    if options.get("chunks") == (2,):
                        options["chunks"] = (2, *array.shape[1:])
                    if options.pop("maxshape", False):
                        options["maxshape"] = (None, *array.shape[1:])
                    file.create_dataset(name, data=array, **options)
            seeds.append(path.read_bytes())
            path.unlink()
    return seeds


class Reader:
    """One reader: `seeds` are good files, `read` reads a bad one."""

    seeds = ()
    mutate = staticmethod(mutate)

    def content(self, rng):
        return self.mutate(rng, rng.choice(self.seeds), rng.choice(self.seeds))


class HDF5Data(Reader):
    """An epoch of a net, but no more than 50 minibatches."""

    def __init__(self):
        random = np.random.default_rng(1)
        self.seeds = hdf5(data=random.random((20, 3, 4), np.float32), label=np.arange(20.0).reshape(20, 1))
        Path("list.txt").write_text("data.hdf5\n")
        self.system = mocha.System(ReferenceBackend())

    def read(self, content):
        Path("data.hdf5").write_bytes(content)
        layer = layers.HDF5DataLayer(name="d", source="list.txt", batch_size=5, shuffle=len(content) % 2 == 0)
        net = mocha.Net("net", self.system, [layer])
        try:
            for _ in range(50):
                net.forward()
                if net.epoch:
                    break
        finally:
            net.destroy()


class Parameters(Reader):
    """Readers that load into a net: it changes as a whole or not at all."""

    def __init__(self):
        self.system = mocha.System(ReferenceBackend(), seed=1)
        data = layers.MemoryDataLayer(name="data", data=[np.ones((4, 6)), np.zeros((4, 1))], batch_size=2)
        ip = layers.InnerProductLayer(name="ip", output_dim=4, bottoms=["data"], tops=["ip"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])
        self.net = mocha.Net("net", self.system, [data, ip, loss])

    def parameters(self):
        return b"".join(state.numpy().tobytes() for state in self.net.states.values())

    def read(self, content):
        for state in self.net.states.values():
            state.set(np.zeros(state.value.shape))
        before = self.parameters()
        try:
            self.load(content)
        except MochaError:
            assert self.parameters() == before, "the net has changed"
            raise


class HDF5Network(Parameters):
    def __init__(self):
        super().__init__()
        self.seeds = hdf5(ip___weight=np.ones((4, 6), "f4"), ip___bias=np.ones(4, "f4"))

    def load(self, content):
        Path("net.hdf5").write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mocha.load_network("net.hdf5", self.net)


class HDF5Snapshot(Parameters):
    """Any change of a snapshot is noticed, and it is skipped."""

    def __init__(self):
        super().__init__()
        path = Path("snapshot-000003.hdf5")
        solver = self.solver()
        solver.add_coffee_break(coffee.Snapshot("."), every_n_iter=3)
        solver.solve(self.net)
        self.seeds = [path.read_bytes()]
        path.unlink()

    def solver(self):
        return solvers.SGD(mocha.SolverParameters(max_iter=3))

    def load(self, content):
        if content == self.seeds[0]:
            raise MochaError("not changed")
        Path("snapshot-000003.hdf5").write_bytes(content)
        solver, load = self.solver(), coffee.Snapshot(".", auto_load=True)
        try:
            load.init(solver, self.net)
        finally:
            load.destroy(solver, self.net)
        assert solver.state.iteration == 0, "a changed snapshot was loaded"
        raise MochaError("named and skipped")


class HDF5SealedSnapshot(HDF5Snapshot):
    """Changes under a seal that fits, as nobody but an attacker makes them."""

    def content(self, rng):
        rest = self.mutate(rng, self.seeds[0][SEAL:], self.seeds[0])
        return f"Mocha snapshot 1\nsha256 {hashlib.sha256(rest).hexdigest()}\n".encode().ljust(SEAL, b"\0") + rest

    def load(self, content):
        path = Path("snapshot-000003.hdf5")
        path.write_bytes(content)
        solver = self.solver()
        with format_of(path).open_snapshot(path) as snapshot:
            restore(snapshot, solver, self.net)
        assert 0 <= solver.state.iteration <= 2**53


class IDX(Reader):
    pack = staticmethod(bytes)
    ending = ""

    def __init__(self):
        random = np.random.default_rng(1)
        images = struct.pack(">4B3I", 0, 0, 8, 3, 3, 28, 28) + random.bytes(3 * 784)
        labels = struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([1, 2, 3])
        os.mkdir("in")
        for part in ("train", "t10k"):
            Path(f"in/{part}-images-idx3-ubyte{self.ending}").write_bytes(self.pack(images))
            Path(f"in/{part}-labels-idx1-ubyte{self.ending}").write_bytes(self.pack(labels))
        self.seeds = [self.pack(images), self.pack(labels)]

    def read(self, content):
        part, seed = ("images-idx3", self.seeds[0]) if len(content) > 500 else ("labels-idx1", self.seeds[1])
        path = Path(f"in/train-{part}-ubyte{self.ending}")
        path.write_bytes(content)
        try:
            MNIST().convert(Path("in"), Path("out"), force=True)
        finally:
            path.write_bytes(seed)


class IDXCompressed(IDX):
    ending = ".gz"

    @staticmethod
    def pack(content):
        return gzip.compress(content, mtime=0)

    def content(self, rng):
        if rng.random() < 0.5:
            return super().content(rng)
        inside = [gzip.decompress(seed) for seed in self.seeds]  # a good file of bad contents
        return self.pack(self.mutate(rng, rng.choice(inside), rng.choice(inside)))


class CIFAR(Reader):
    def __init__(self):
        self.seeds = [bytes([number]) + np.random.default_rng(number).bytes(3072) for number in range(2)]
        os.mkdir("in")
        for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
            Path("in", name).write_bytes(self.seeds[0])

    def read(self, content):
        path = Path("in/data_batch_3.bin")
        path.write_bytes(content)
        CIFAR10().convert(Path("in"), Path("out"), force=True)


def mutate_text(rng, content, other):
    """Bytes as in any file, and lines."""
    if rng.random() < 0.4:
        return mutate(rng, content, other)
    lines = content.splitlines(keepends=True)
    for _ in range(rng.randrange(1, 4)):
        at, what = rng.randrange(len(lines) + 1), rng.randrange(6)
        if what == 0:
            del lines[at : at + 1]
        elif what == 1:
            lines[at:at] = lines[at : at + 1] * rng.choice((1, 2, 300))
        elif what == 2:
            lines[at:at] = [rng.choice((b"\n", b"\r", b" \t\n", b"\0\n", b"\xff\xfe\n", b"\xe2\x80\xa8", b"x" * 10000))]
        elif what == 3:
            lines[at : at + 1] = [line.rstrip() for line in lines[at : at + 1]]
        elif what == 4:
            rng.shuffle(lines)
        else:
            lines[at:at] = [rng.choice(other.splitlines(keepends=True) or [b""])]
    return b"".join(lines)


class List(Reader):
    mutate = staticmethod(mutate_text)

    def __init__(self):
        for name in ("a.hdf5", "b.hdf5"):
            with h5py.File(name, "w") as file:
                file["data"], file["label"] = np.zeros((2, 3), "f4"), np.zeros((2, 1), "f4")
        os.mkfifo("pipe")
        os.mkdir("folder")
        Path("empty").touch()
        self.seeds = [
            b"a.hdf5\nb.hdf5\n",
            b"\xef\xbb\xbfa.hdf5\r\n\r\n  b.hdf5  \r\n",
            b"a.hdf5\npipe\n",
            b"folder\n.\n..\n/\na.hdf5\n",
            b"/dev/zero\n/dev/null\n/dev/tty\n",
            b"empty\na.hdf5\nlist.txt\n",
            f"{os.getcwd()}/a.hdf5\n".encode(),
        ]

    def read(self, content):
        Path("list.txt").write_bytes(content)
        layers.HDF5DataLayer(name="d", source="list.txt", batch_size=2).open(0).close()


class Events(Reader):
    """history.jsonl, as a run that goes on opens it."""

    mutate = staticmethod(mutate_text)

    def __init__(self):
        events = [{"event": "training", "iteration": i, "time": 1.5, "objective": 1 / (i + 1)} for i in range(12)]
        events[5] = {"event": "validation", "iteration": 5, "time": 2, "accuracy": None}
        odd = b'{"iteration": 1e400}\n{"iteration": "3"}\n[[[[]]]]\n{"iteration": true}\n{"iteration": -1}\nnull\n'
        deep = b'{"iteration": ' + b"[" * 20000 + b"\n" + b'{"iteration": ' + b"9" * 5000 + b"}\n"
        self.seeds = ["".join(json.dumps(event) + "\n" for event in events).encode(), odd, deep]

    def read(self, content):
        path = Path("history.jsonl")
        path.write_bytes(content)
        history = History(path, len(content) % 12)
        try:
            history.write({"event": "training", "iteration": 12, "objective": float("nan")})
        finally:
            history.close()
        assert json.loads(path.read_bytes().splitlines()[-1])["iteration"] == 12


READERS = {
    "HDF5 data": HDF5Data,
    "HDF5 network": HDF5Network,
    "HDF5 snapshot": HDF5Snapshot,
    "HDF5 snapshot, sealed again": HDF5SealedSnapshot,
    "IDX": IDX,
    "IDX, compressed": IDXCompressed,
    "CIFAR-10": CIFAR,
    "list of files": List,
    "history": Events,
}


def trial(reader, name, number):
    """Whether a mutated file is read; anything but a `MochaError` is raised on."""
    rng = random.Random(f"{name} {number}")
    content = reader.content(rng)
    try:
        reader.read(content)
    except MochaError:
        return False
    return True


def work(reader, name, numbers, out):
    """Run trials in this process, and tell of each."""
    slowest = read = 0
    for number in numbers:
        os.write(out, f"{number}\n".encode())
        start = time.process_time()
        try:
            read += trial(reader, name, number)
        except BaseException:
            os.write(out, (json.dumps({"problem": traceback.format_exc()[-1500:]}) + "\n").encode())
        slowest = max(slowest, time.process_time() - start)
    os.write(out, (json.dumps({"read": read, "slowest": slowest}) + "\n").encode())


def watch(reader, name, numbers, result):
    """Run trials in a forked process; returns the number of the one that ended it, or None."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            work(reader, name, numbers, writing)
        finally:
            os._exit(0)
    os.close(writing)
    current, buffer, hung = numbers[0], b"", False
    while True:
        if not select.select([reading], [], [], 30)[0]:
            os.kill(child, signal.SIGKILL)
            hung = True
            break
        if not (piece := os.read(reading, 2**16)):
            break
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if isinstance(told, int):
                current = told
            elif "problem" in told:
                result["problems"].append([current, told["problem"]])
            else:
                result["read"] += told["read"]
                result["slowest"] = max(result["slowest"], told["slowest"])
                current = None
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    result["peak"] = max(result["peak"], usage.ru_maxrss * 1024)
    if current is not None:
        result["problems"].append([current, "hung" if hung else f"the process ended with status {status}"])
    return current


def main():
    name, first, last, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.makedirs(folder)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    signal.alarm(550)
    reader = READERS[name]()
    result = {"read": 0, "slowest": 0.0, "peak": 0, "problems": []}
    while first < last:
        ended = watch(reader, name, range(first, min(first + BATCH, last)), result)
        first = min(first + BATCH, last) if ended is None else ended + 1
    print(json.dumps(result))


if __name__ == "__main__":
    main()
