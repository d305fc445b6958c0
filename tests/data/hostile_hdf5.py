"""HDF5 files that nobody should open: each kind puts something else where a dataset of numbers is expected.

As a program, `python hostile_hdf5.py FOLDER STEP`, it attacks every entry point with every kind, or with every
STEP-th of all combinations, each in a process of its own, so that memory is measured and system calls can be traced.
At the end it follows a link with plain h5py, the positive control.
"""

import hashlib
import json
import logging
import os
import select
import signal
import struct
import sys
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

import mocha_core as mocha
from mocha_core import coffee, layers, solvers
from mocha_core.errors import MochaError, ShapeError
from mocha_core.testing.backends import ReferenceBackend
from mocha_core.train.formats import format_of
from mocha_core.train.snapshot import restore

#: The name that must never occur in the opens.
FOREIGN = "foreign-target-f3a9"
SEAL = 512

KINDS = {}


def kind(name):
    return lambda make: KINDS.setdefault(name, make)


def parent(file, place):
    group, _, name = place.rpartition("/")
    return file.require_group(group or "/"), name


def create(file, place, datatype, shape, properties=None, space=None):
    """A dataset of an h5t type."""
    group, name = parent(file, place)
    space = space or h5s.create_simple(shape)
    return h5d.create(group.id, name.encode(), datatype, space, properties)


def chunked(file, place, shape, chunk=None, filters=()):
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(chunk or shape)
    for add in filters:
        add(properties)
    return create(file, place, h5t.IEEE_F32LE, shape, properties)


def first(shape):
    return (0,) * len(shape)


@kind("nothing")
def _(file, place, shape):
    pass


@kind("external link")
def _(file, place, shape):
    file[place] = h5py.ExternalLink(FOREIGN, "x")


@kind("soft link")
def _(file, place, shape):
    file["elsewhere"] = np.zeros(shape, "f4")
    file[place] = h5py.SoftLink("/elsewhere")


@kind("dangling soft link")
def _(file, place, shape):
    file[place] = h5py.SoftLink("/nowhere")


@kind("cyclic soft links")
def _(file, place, shape):
    file["one"] = h5py.SoftLink("/two")
    file["two"] = h5py.SoftLink("/one")
    file[place] = h5py.SoftLink("/one")


@kind("a path through a soft link")
def _(file, place, shape):
    file[f"aside/{place.rpartition('/')[2]}"] = np.zeros(shape, "f4")
    replace_group(file, place, h5py.SoftLink("/aside"))


@kind("a path through an external link")
def _(file, place, shape):
    replace_group(file, place, h5py.ExternalLink(FOREIGN, "/"))


def replace_group(file, place, link):
    group = place.rpartition("/")[0]
    del file[group]
    file[group] = link


@kind("external storage")
def _(file, place, shape):
    file.create_dataset(place, shape, "f4", external=[(FOREIGN, 0, h5py.h5f.UNLIMITED)])


@kind("virtual dataset")
def _(file, place, shape):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource(FOREIGN, "x", shape)
    file.create_virtual_dataset(place, layout)


@kind("virtual dataset without end")
def _(file, place, shape):
    properties = h5p.create(h5p.DATASET_CREATE)
    space = h5s.create_simple(shape, (h5s.UNLIMITED, *shape[1:]))
    source = h5s.create_simple(shape, (h5s.UNLIMITED, *shape[1:]))
    for selected in (space, source):
        selected.select_hyperslab(first(shape), (1,) * len(shape), None, (h5s.UNLIMITED, *shape[1:]))
    properties.set_virtual(space, FOREIGN.encode(), b"x", source)
    create(file, place, h5t.IEEE_F32LE, shape, properties, space=space)


@kind("object references")
def _(file, place, shape):
    file.create_dataset(place, shape, h5py.ref_dtype)


@kind("region references")
def _(file, place, shape):
    file.create_dataset(place, shape, h5py.regionref_dtype)


@kind("compound type")
def _(file, place, shape):
    file[place] = np.zeros(shape, [("a", "f4"), ("b", "f4")])


@kind("complex numbers")
def _(file, place, shape):
    file[place] = np.zeros(shape, "c8")


@kind("values of variable length")
def _(file, place, shape):
    file.create_dataset(place, shape, h5py.vlen_dtype("f4"))


@kind("strings")
def _(file, place, shape):
    file.create_dataset(place, shape, "S4")


@kind("strings of variable length")
def _(file, place, shape):
    file.create_dataset(place, shape, h5py.string_dtype())


@kind("opaque type")
def _(file, place, shape):
    file[place] = np.zeros(shape, "V4")


@kind("array type")
def _(file, place, shape):
    create(file, place, h5t.array_create(h5t.IEEE_F32LE, (3,)), shape)


@kind("integers of three bytes")
def _(file, place, shape):
    datatype = h5t.STD_I32LE.copy()
    datatype.set_size(3)
    create(file, place, datatype, shape)


@kind("floats with another exponent")
def _(file, place, shape):
    datatype = h5t.IEEE_F32LE.copy()
    datatype.set_ebias(100)
    create(file, place, datatype, shape)


@kind("no dataspace")
def _(file, place, shape):
    file[place] = h5py.Empty("f4")


@kind("group")
def _(file, place, shape):
    file.create_group(place)


@kind("group that contains itself")
def _(file, place, shape):
    group = file.create_group(place)
    group["again"] = group


@kind("committed datatype")
def _(file, place, shape):
    file[place] = np.dtype("f4")


@kind("wrong rank")
def _(file, place, shape):
    file[place] = np.zeros((2, *shape, 2), "f4")


@kind("scalar")
def _(file, place, shape):
    file[place] = np.float32(1)


@kind("empty dataset")
def _(file, place, shape):
    file[place] = np.zeros((0, *shape[1:]), "f4")


@kind("declared beyond all memory")
def _(file, place, shape):
    chunked(file, place, (2**40, 2**20, *shape[2:]), (1, 1024, *shape[2:]), [lambda p: p.set_deflate(4)])


@kind("a chunk that inflates without end")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_deflate(4)])
    dataset.write_direct_chunk(first(shape), bomb())


@kind("a chunk that inflates to less")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_deflate(4)])
    dataset.write_direct_chunk(first(shape), zlib.compress(b"less"))


@kind("a chunk of half a gibibyte")
def _(file, place, shape):
    rest = int(np.prod(shape[1:]))
    space = h5s.create_simple(shape, (h5s.UNLIMITED, *shape[1:]))
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((2**27 // rest, *shape[1:]))
    properties.set_deflate(4)
    create(file, place, h5t.IEEE_F32LE, shape, properties, space).write_direct_chunk(first(shape), bomb())


@kind("lzf that repeats without end")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_filter(32000, 0, (4, 261, 2**26))])
    dataset.write_direct_chunk(first(shape), b"\x00a" + b"\xe0\xff\x00" * 400_000)


@kind("lzf that refers to nothing")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_filter(32000, 0, (4, 261, 2**26))])
    dataset.write_direct_chunk(first(shape), b"\xe0\xff\x00")


@kind("a checksum that does not match")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_fletcher32()])
    dataset.write_direct_chunk(first(shape), np.ones(shape, "f4").tobytes() + b"abcd")


@kind("compressed a thousand times")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_deflate(4), lambda p: p.set_deflate(4)])
    dataset.write_direct_chunk(first(shape), zlib.compress(bomb()))


def index_nodes(file, place, shape):
    """A chunked dataset, and a function that makes the nodes of its index: `node(content, at, level, children)`."""
    dataset = chunked(file, place, shape, (1,) * len(shape))
    dataset.write_direct_chunk(first(shape), b"\0\0\0\0")
    file["room"] = np.frombuffer(b"room for nodes " * 2000, "u1")

    def node(content, at, level, children, keys):
        base = content.find(b"\x89HDF")
        struct.pack_into("<4sBBHQQ", content, at, b"TREE", 1, level, len(children), 2**64 - 1, 2**64 - 1)
        at += 24
        for key, child in zip(keys, [*children, None], strict=True):
            struct.pack_into(f"<II{len(shape)}QQ", content, at, 4, 0, *key, *first(shape)[1:], 0)
            at += 16 + 8 * len(shape)
            if child is not None:
                struct.pack_into("<Q", content, at, child - base)
                at += 8

    return node


@kind("a chunk index that leads to one place a billion times")
def _(file, place, shape):
    node = index_nodes(file, place, shape)

    def patch(content):
        room, keys = content.find(b"room for nodes"), [(k,) for k in range(65)]
        node(content, room, 0, [], [(0,)])
        for level in range(1, 6):
            node(content, room + level * 3000, level, [room + (level - 1) * 3000] * 64, keys)
        node(content, content.find(b"TREE\x01"), 6, [room + 5 * 3000] * 64, keys)

    return patch


@kind("a chunk index that leads in a circle")
def _(file, place, shape):
    node = index_nodes(file, place, shape)

    def patch(content):
        root = content.find(b"TREE\x01")
        node(content, root, 3, [root], [(0,), (2**40,)])

    return patch


@kind("a group index that leads in a circle")
def _(file, place, shape):
    file[place] = np.zeros(shape, "f4")

    def patch(content):
        base, at = content.find(b"\x89HDF"), content.find(b"TREE\0")
        while at >= 0:  # every group
            content[at + 5] = 1  # its level
            struct.pack_into("<Q", content, at + 32, at - base)
            at = content.find(b"TREE\0", at + 1)

    return patch


@kind("an unknown filter")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))])
    dataset.write_direct_chunk(first(shape), np.ones(shape, "f4").tobytes())


@kind("declared beyond all memory, and never written")
def _(file, place, shape):
    create(file, place, h5t.IEEE_F32LE, (2**40, *shape[1:]))


@kind("lzf that ends early")
def _(file, place, shape):
    dataset = chunked(file, place, shape, filters=[lambda p: p.set_filter(32000)])
    dataset.write_direct_chunk(first(shape), b"\x02abc")


def scaled(file, place, shape):
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(shape)
    properties.set_scaleoffset(h5py.h5z.SO_INT, 0)
    return create(file, place, h5t.STD_I32LE, shape, properties)


@kind("scale-offset data that end early")
def _(file, place, shape):
    scaled(file, place, shape).write_direct_chunk(first(shape), struct.pack("<IBQQ", 31, 8, 0, 0))


@kind("scale-offset data of more bits than numbers have")
def _(file, place, shape):
    scaled(file, place, shape).write_direct_chunk(first(shape), struct.pack("<IBQQ", 2**31, 8, 0, 0) + bytes(1000))


@kind("scale-offset of more numbers than there are")
def _(file, place, shape):
    dataset = scaled(file, place, shape)
    dataset.write_direct_chunk(first(shape), struct.pack("<IBQQ", 1, 8, 0, 0) + bytes(1000))
    count = int(np.prod(shape))

    def patch(content):
        at = content.find(struct.pack("<III", 2, 0, count))  # integers, minimum bits, numbers of a chunk
        struct.pack_into("<I", content, at + 8, 2**28)

    return patch


@kind("szip that says it is larger")
def _(file, place, shape):
    def szip(properties):
        properties.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 2)

    dataset = chunked(file, place, shape, filters=[szip])
    dataset.write_direct_chunk(first(shape), struct.pack("<I", 2**31) + bytes(100))


_BOMB = []


def bomb():
    """Half a gibibyte of zeros in half a mebibyte."""
    if not _BOMB:
        packer, piece = zlib.compressobj(9), bytes(2**20)
        _BOMB.append(b"".join([*(packer.compress(piece) for _ in range(512)), packer.flush()]))
    return _BOMB[0]


# Places: names with a slash, so that links may be on the way.
DATA, WEIGHT, GROUPED = "in/data", "ip___weight", "part/ip___weight"
SHAPE = (4, 6)
FACTS = {
    "iteration": 3, "objective": 0.5, "learning_rate": 0.1, "momentum": 0.5, "seed": 1, "dtype": "float32",
    "solver": "SGD", "cursors": {"data": 4},
}  # fmt: skip


def write(path, arrays, place, make, sealed=False):
    """A file of these arrays, but for one that is replaced."""
    with h5py.File(path, "w", userblock_size=SEAL if sealed else 0) as file:
        for name, array in arrays.items():
            if name != place:
                file[name] = array
        parent(file, place)
        patch = None
        if make is None:
            file[place] = arrays[place]
        else:
            patch = make(file, place, arrays[place].shape)
    content = bytearray(path.read_bytes())
    if patch is not None:
        patch(content)
        path.write_bytes(content)
    if sealed:
        digest = hashlib.sha256(content[SEAL:]).hexdigest()
        path.write_bytes(f"Mocha snapshot 1\nsha256 {digest}\n".encode().ljust(SEAL, b"\0") + content[SEAL:])


def network():
    return {WEIGHT: np.full(SHAPE, 7, "f4"), "ip___bias": np.full(4, 7, "f4")}


def snapshot():
    arrays = {f"parameters/{name}": array for name, array in network().items()}
    arrays |= {f"slots/velocity/{name}": array for name, array in network().items()}
    names = {"parameters": list(network()), "slots": [f"velocity/{name}" for name in network()]}
    texts = {"facts": FACTS, "names": names}
    return arrays | {name: np.frombuffer(json.dumps(text).encode(), np.uint8) for name, text in texts.items()}


@contextmanager
def training():
    """A solver and a net whose parameters and slots are those of `network` and `snapshot`."""
    with mocha.System(ReferenceBackend(), seed=1) as system:
        data = layers.MemoryDataLayer(name="data", data=[np.ones((4, 6)), np.zeros((4, 1))], batch_size=2)
        ip = layers.InnerProductLayer(name="ip", output_dim=4, bottoms=["data"], tops=["ip"])
        loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])
        net = mocha.Net("net", system, [data, ip, loss])
        yield solvers.SGD(mocha.SolverParameters(max_iter=3)), net


def parameters(net):
    return b"".join(state.numpy().tobytes() for state in net.states.values())


def run(action, net, hostile):
    """Do it; the net changes if and only if the file is not hostile."""
    before = parameters(net)
    try:
        action()
    finally:
        assert (parameters(net) == before) == bool(hostile)


def attack_data(folder, make, shuffle=False):
    data = {DATA: np.full((4, 3), 7, "f4"), "in/label": np.zeros((4, 1), "f4")}
    write(folder / "data.hdf5", data, DATA, make)
    (folder / "list.txt").write_text("data.hdf5\n")
    with mocha.System(ReferenceBackend()) as system:
        layer = layers.HDF5DataLayer(
            name="d", source=folder / "list.txt", tops=["in/data", "in/label"], batch_size=2, shuffle=shuffle
        )
        net = mocha.Net("net", system, [layer])
        net.forward()
        net.forward()
        assert (net.blobs["in/data"].numpy() == 7).all()


def attack_shuffled_data(folder, make):
    attack_data(folder, make, shuffle=True)


def attack_network(folder, make, name="net.hdf5"):
    write(folder / name, network(), WEIGHT, make)
    with training() as (_, net):
        run(lambda: mocha.load_network(folder / name, net), net, make)


def attack_h5_network(folder, make):
    attack_network(folder, make, "net.h5")


def attack_sealed_network(folder, make):
    write(folder / "net.hdf5", snapshot(), f"parameters/{WEIGHT}", make, sealed=True)
    with training() as (_, net):
        run(lambda: mocha.load_network(folder / "net.hdf5", net), net, make)


def attack_arrays(folder, make):
    """What a third party does with a network file."""
    write(folder / "net.hdf5", {GROUPED: network()[WEIGHT]}, GROUPED, make)
    with format_of("net.hdf5").open_network(folder / "net.hdf5") as arrays:
        found = arrays[GROUPED]
        if found.shape == SHAPE:
            np.asarray(found)
        else:
            raise ShapeError("another shape, which is the caller's business")


def attack_restore(folder, make, place=f"parameters/{WEIGHT}"):
    write(folder / "snapshot-000003.hdf5", snapshot(), place, make, sealed=True)
    with training() as (solver, net), format_of("a.hdf5").open_snapshot(folder / "snapshot-000003.hdf5") as found:
        run(lambda: restore(found, solver, net), net, make)


def attack_slots(folder, make):
    attack_restore(folder, make, f"slots/velocity/{WEIGHT}")


class Skipped(MochaError):
    pass


def attack_auto_load(folder, make, place=f"parameters/{WEIGHT}"):
    """A snapshot that cannot be read is named and skipped, one that does not fit is an error."""
    write(folder / "snapshot-000003.hdf5", snapshot(), place, make, sealed=True)
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("mocha")
    logger.addHandler(handler)
    try:
        with training() as (solver, net):
            load = coffee.Snapshot(folder, auto_load=True)
            try:
                run(lambda: load.init(solver, net), net, make)
            finally:
                load.destroy(solver, net)
            if any("Skipping snapshot-000003.hdf5" in message for message in messages):
                assert solver.state.iteration == 0
                raise Skipped("named and skipped")
    finally:
        logger.removeHandler(handler)


def attack_facts(folder, make):
    attack_auto_load(folder, make, "facts")


def attack_names(folder, make):
    attack_auto_load(folder, make, "names")


ENTRIES = {
    "data layer": attack_data,
    "shuffled data layer": attack_shuffled_data,
    "network .hdf5": attack_network,
    "network .h5": attack_h5_network,
    "network out of a snapshot": attack_sealed_network,
    "arrays of a network": attack_arrays,
    "snapshot restored": attack_restore,
    "slots restored": attack_slots,
    "snapshot auto-loaded": attack_auto_load,
    "facts auto-loaded": attack_facts,
    "names auto-loaded": attack_names,
}


def cases():
    return [(entry, kind) for entry in ENTRIES for kind in KINDS if applies(entry, kind)]


def applies(entry, kind):
    if kind.startswith("a path through"):  # where there is a group on the way
        return entry not in ("network .hdf5", "network .h5", "facts auto-loaded", "names auto-loaded")
    if kind == "nothing":
        return entry != "arrays of a network"  # a KeyError, as of any mapping
    # Data may have any number of axes, and the text of the facts is none of numbers.
    return not (kind == "wrong rank" and entry in ("data layer", "shuffled data layer"))


def foreign(folder):
    """The file that links, virtual datasets and external storage lead to."""
    with h5py.File(folder / FOREIGN, "w") as file:
        file["x"] = np.zeros((16, 6), "f4")
        file["ip___weight"] = np.zeros(SHAPE, "f4")
        file["data"] = np.zeros((4, 3), "f4")


def attack(entry, kind, folder):
    """The error, or None; leaves the folder empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ENTRIES[entry](folder, KINDS[kind])
        except MochaError as error:
            return error
        finally:
            for name in os.listdir(folder):
                if name != FOREIGN:
                    os.unlink(folder / name)
    return None


def watched(action):
    """What an action returned, and the bytes by which the memory of a forked process grew meanwhile."""
    import resource  # not on Windows

    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # begins with what the parent has
            found = action()
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            os.write(writing, json.dumps([found, grown]).encode())
        except BaseException as error:
            os.write(writing, json.dumps([f"CRASHED {error!r}"[:2000], 0]).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        ended, _, _ = select.select([pipe], [], [], 10)
        if not ended:
            os.kill(child, signal.SIGKILL)
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(answer) if answer else [f"CRASHED with status {status}" if ended else "CRASHED: it hung", 0]


def told(entry, kind, folder):
    error = attack(entry, kind, folder)
    return None if error is None else f"{type(error).__name__}: {error}"


def main():
    folder = Path(sys.argv[1])
    os.chdir(folder)
    foreign(folder)
    bomb()
    told("network .hdf5", "strings", folder)  # imports what is needed
    os.path.exists("attacks-begin")  # marks the place in a trace of system calls
    results = [[e, k, *watched(lambda e=e, k=k: told(e, k, folder))] for e, k in cases()[:: int(sys.argv[2])]]
    os.path.exists("attacks-end")
    with h5py.File("control.hdf5", "w") as file:
        file["link"] = h5py.ExternalLink(FOREIGN, "x")
    with h5py.File("control.hdf5") as file:
        assert file["link"].shape == (16, 6)
    assert watched(lambda: int(np.ones(2**24).sum()))[1] > 100 * 2**20, "growth is measured"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
