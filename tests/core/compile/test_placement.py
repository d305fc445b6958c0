"""Where short-lived values are put: never over each other while alive, and never taking more than they need."""

from itertools import pairwise

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD

import mocha_core as mocha
from mocha_core.compile.placement import Block, _assign, _overwritten
from mocha_core.compile.storage import Storage
from mocha_core.errors import BackendError, StateError
from mocha_core.graph.value import ALIGNMENT, Role, Spec, Value, aligned_elements, nbytes


def random_blocks(random):
    blocks = []
    for i in range(int(random.integers(1, 25))):
        first = int(random.integers(0, 20))
        spec = Spec((int(random.integers(1, 200)),), "float32")
        blocks.append(Block(Value(f"v{i}", spec.shape, "float32"), spec, first, first + int(random.integers(0, 8))))
    return blocks


def together(a, b):
    return a.first <= b.last and b.first <= a.last


def overlap(a, b):
    return a.offset < b.end and b.offset < a.end


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_values_alive_together_never_overlap(first):
    for seed in range(first, first + 100):
        check_placement(random_blocks(np.random.default_rng(seed)))


def check_placement(blocks):
    total = _assign(blocks)
    for i, a in enumerate(blocks):
        assert a.offset % (ALIGNMENT // 4) == 0
        assert a.end <= total
        for b in blocks[:i]:
            assert not (together(a, b) and overlap(a, b))
    assert total <= sum(aligned_elements(b.spec) for b in blocks)
    busiest = max(sum(aligned_elements(b.spec) for b in blocks if b.first <= t <= b.last) for t in range(30))
    assert total >= busiest
    lost = _overwritten(blocks)
    for a in blocks:
        assert (a.value in lost) == any(b.first > a.last and overlap(a, b) for b in blocks)


def test_memory_is_shared_at_all():
    blocks = [Block(Value(f"v{t}", (64,), "float32"), Spec((64,), "float32"), t, t + 1) for t in range(10)]
    assert _assign(blocks) == 2 * 64


@pytest.mark.parametrize("name", ["plain", "blocked", "deferred"])
def test_the_buffers_of_a_program_do_not_overlap_while_alive(name):
    """The same on real programs, by address: training, testing, and with all blobs kept."""
    with mocha.System(BACKENDS[name](), seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        SGD(parameters(max_iter=2)).solve(net)
        net.forward()
        net.forward_epoch()
        for _, program in net.runs.programs():
            memory = program.memory
            blocks = list(memory.blocks.values())
            spans = [span(memory.buffers[b.value]) for b in blocks]
            for i, a in enumerate(blocks):
                for j in range(i):
                    apart = spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]
                    assert apart or not together(a, blocks[j]), (a.value, blocks[j].value)
            assert memory.total <= sum(nbytes(b.spec) + ALIGNMENT for b in blocks)


def span(buffer):
    array = getattr(buffer, "memory", buffer)
    start = array.__array_interface__["data"][0]
    return start, start + array.nbytes


def test_training_takes_less_memory_than_keeping_everything():
    with mocha.System(Plain(), seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        SGD(parameters(max_iter=1)).solve(net)
        trained = net.runs.last_program().memory.total
        net.forward()
        assert trained < net.runs.last_program().memory.total


def test_a_blob_whose_memory_was_used_again_names_keep():
    with mocha.System(Plain(), seed=3) as system:
        layers = [nets.data(), *nets.body(), *nets.losses()]
        net, keeping = mocha.Net("net", system, layers), mocha.Net("keeping", system, layers, keep=["side"])
        for n in (net, keeping):
            SGD(parameters(max_iter=1)).solve(n)
        with pytest.raises(StateError, match=r"memory of blob 'side' was used again.*keep=\['side'\]"):
            net.blobs["side"].numpy()
        assert keeping.blobs["side"].numpy().shape == (6, 3)


def test_an_arena_that_does_not_fit_names_the_largest_values():
    class Small(Plain):
        def empty(self, shape, dtype):
            if int(np.prod(shape)) > 20_000:
                raise MemoryError
            return super().empty(shape, dtype)

    with mocha.System(Small()) as system:
        net = mocha.Net("net", system, [nets.data(batch=64, n=64), *nets.body(), *nets.losses()])
        message = (
            r"^Net 'net', training batch 64: 192,000 bytes \(187\.5 KiB\) are more than backend 'plain' can give\. The "
            r"largest of \d+ pieces: 'data.*of 32,768 bytes .*'conv1.*of 27,648 bytes.* smaller batch_size"
        )
        with pytest.raises(BackendError, match=message):
            net.forward()


def test_storage_places_values_side_by_side_and_aligned():
    storage = Storage(Plain())
    values = [Value(f"p{i}", shape, "float32", Role.PARAMETER) for i, shape in enumerate([(3, 5), (1,), (7,), (16,)])]
    other = Value("cell", (2,), "float64", Role.CELL)
    storage.allocate([*values, other])
    starts = [span(storage[v])[0] for v in values]
    steps = [aligned_elements(v.spec) * 4 for v in values[:-1]]
    assert [b - a for a, b in pairwise(starts)] == steps == [64, 64, 64]
    assert all(not storage[v].any() for v in (*values, other))
    assert storage[values[0]].base is storage[values[3]].base is not storage[other].base
    storage[values[1]][...] = 5
    storage.allocate(values)
    assert storage[values[1]] == 5, "what has a buffer keeps it"


def test_storage_forgets_values_that_nobody_holds():
    storage = Storage(Plain())
    value = Value("lost", (3,), "float32", Role.SLOT)
    storage.allocate([value])
    assert value in storage
    with pytest.raises(StateError, match="'other' has no storage"):
        storage[Value("other", (), "float32")]
    assert len(storage._buffers) == 1
    del value
    assert len(storage._buffers) == 0


def test_gradients_of_a_net_lie_in_one_arena():
    with mocha.System(Plain(), dtype="float64") as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        net.forward()
        gradients = net.runs.recorder.gradients.values()
        arrays = [system.storage[g] for g in gradients]
        parameters = [system.storage[p] for p in net.runs.recorder.gradients]
    for group in (arrays, parameters):
        assert len({id(a.base) for a in group}) == 1
        starts = [span(a)[0] for a in group]
        assert starts == sorted(starts)
        assert all((a - starts[0]) % ALIGNMENT == 0 for a in starts)
