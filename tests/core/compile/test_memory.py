"""What does not fit is refused before it is allocated, by name and number, and nothing stays behind."""

import gc
import os
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.compile import budget
from mocha_core.compile.budget import allocating, in_words
from mocha_core.errors import BackendError, ConfigurationError, MochaError
from mocha_core.graph.value import Spec
from mocha_core.host import memory as host_memory

MIB = 2**20


class Budgeted(Plain):
    """Gives so many bytes, counts what is still held, and never touches what it was not asked first."""

    def __init__(self, budget, resident_bytes=0):
        self.budget = budget
        self.resident_bytes = resident_bytes
        self.held = weakref.WeakSet()
        self.asked = 0

    class Arena(np.ndarray):
        """Can be watched by a weak reference, and owns its memory."""

    def free_bytes(self):
        self.asked += 1
        return self.budget - sum(arena.nbytes for arena in list(self.held))

    def empty(self, shape, dtype):
        arena = np.empty(shape, dtype).view(self.Arena)
        self.held.add(Watched(arena))
        assert self.asked or arena.nbytes <= budget.LITTLE
        return arena


class Watched:
    """The memory behind an array: alive as long as a view of it is."""

    def __new__(cls, arena):
        self = object.__new__(cls)
        arena.owner = self
        self.nbytes = arena.nbytes
        return self


def wide(system, name="net", *, batch=4, features=1000, outputs=1000, rows=8, layers=(), **options):
    """A net with one parameter of outputs x features."""
    random = np.random.default_rng(1)
    arrays = (random.standard_normal((rows, features)), random.standard_normal((rows, outputs)))
    options |= {"batch_size": batch, "repeated": batch, "tops": ("data", "target")}
    data = MemoryLayer(name="data", arrays=arrays, **options)
    x = InnerProductLayer(name="wide", output_dim=outputs, bottoms=["data"], tops=["x"])
    return mocha.Net(name, system, [data, x, SquareLossLayer(name="loss", bottoms=["x", "target"]), *layers])


def trains(net):
    SGD(parameters(max_iter=2)).solve(net)
    return np.isfinite(net.forward())


def test_bytes_in_words():
    assert [in_words(n) for n in (0, 1, 1023, 1024, 1536 * 1024, 2**34, 2**101)] == [
        "0 bytes",
        "1 bytes",
        "1,023 bytes",
        "1,024 bytes (1.0 KiB)",
        "1,572,864 bytes (1.5 MiB)",
        "17,179,869,184 bytes (16.0 GiB)",
        "2,535,301,200,456,458,802,993,406,410,752 bytes (2,097,152.0 YiB)",
    ]


def test_a_refusal_comes_before_the_allocation_and_a_memory_error_becomes_one():
    big = [("conv1.filter", Spec((2**60,), "float32"))]
    message = r"^Things: .*more than this machine can give.*'conv1.filter'.* Wait\.$"
    with pytest.raises(BackendError, match=message), allocating("Things", big, "Wait."):
        pytest.fail("entered")
    refusing = allocating("Things", [("a", Spec((4,), "float32"))], "Wait.", backend=Plain())
    with pytest.raises(BackendError, match=r"16 bytes are more than backend 'plain' can give\.") as caught, refusing:
        raise MemoryError("no")
    assert isinstance(caught.value.__cause__, MemoryError)
    with pytest.raises(ZeroDivisionError), allocating("Things", [], "Wait."):
        _ = 1 / 0


def test_the_total_of_all_dtypes_is_planned_before_anything_is_allocated():
    """Labels are int32 and values float32: each arena would fit, both do not."""
    made = []

    class Counting(Budgeted):
        def empty(self, shape, dtype):
            made.append((shape, dtype))
            return super().empty(shape, dtype)

    rows = MIB // 4
    with mocha.System(Counting(10**9)) as system:
        arrays = [np.zeros((rows, 1)), np.zeros(rows)]
        data = MemoryLayer(name="data", batch_size=rows, arrays=arrays, tops=("data", "label"))
        from toys.softmax_loss import SoftmaxLossLayer

        x = InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])
        net = mocha.Net("net", system, [data, x, SoftmaxLossLayer(name="loss", bottoms=["x", "label"])])
        net.forward()
        total = net.program().memory.total
        arenas = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in made if shape[0] >= rows]
        assert len(arenas) == 2
        assert sum(arenas) == total
        smaller = mocha.Net("smaller", system, net.layers)
        made.clear()
        system.backend.budget = system.backend.budget - system.backend.free_bytes() + total - 1
        with pytest.raises(BackendError, match=rf"^Net 'smaller', training batch {rows}: {total:,} bytes"):
            smaller.forward()
        assert all(shape[0] < rows for shape, _ in made)
        system.backend.budget += 1000
        smaller.forward()


PARAMETERS = 1000 * 1000 * 4
CASES = {
    "parameters": (
        PARAMETERS // 2,
        r"^Net 'net', parameters: .*'wide\.weight' float32\[1000, 1000\] of 4,000,000 bytes",
    ),
    "gradients": (PARAMETERS * 3 // 2, r"^Net 'net', parameter gradients: 4,00\d,\d+ bytes.*'d wide___weight'"),
    "slots": (PARAMETERS * 5 // 2, r"^SGD, slots: 4,00\d,\d+ bytes \(3\.8 MiB\).*'velocity wide___weight'.* layers"),
}


@pytest.mark.parametrize("what", CASES)
def test_what_outlives_a_run_is_named(what):
    budget, message = CASES[what]
    with mocha.System(Budgeted(budget)) as system:
        with pytest.raises(BackendError, match=message) as caught:
            trains(wide(system))
        assert "can give, which has" in str(caught.value)


@pytest.mark.parametrize("use", ["training", "test", "predict"])
def test_a_program_is_named_with_its_batch_and_the_way_out(use):
    with mocha.System(Budgeted(2 * PARAMETERS + 6 * MIB)) as system:
        net = wide(system, batch=4096, rows=4096)
        way_out = "predict(..., batch_size=...)" if use == "predict" else "a smaller batch_size,"
        run = {
            "training": net.forward,
            "test": net.forward_epoch,
            "predict": lambda: net.predict(np.zeros((5000, 1000)), "x"),
        }[use]
        with pytest.raises(BackendError, match=rf"^Net 'net', {use} batch 4096.*MiB.*'wide\.toy\.dot'") as caught:
            run()
        assert way_out in str(caught.value)
        assert net.predict(np.zeros((20, 1000)), "x", batch_size=8).shape == (20, 1000)
        assert "parameters" in net.summary()


def test_workspaces_and_saved_values_name_their_layer(register):
    from toys.backends import BACKENDS

    with mocha.System(BACKENDS["blocked"](), seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        SGD(parameters(max_iter=1)).solve(net)
        net.predict(nets.rows()[0], "scores")
        names = {layer.name for layer in net.layers} | {"(net)"}
        for _, program in net.runs.programs():
            for value in program.memory.blocks:
                assert value.name.removeprefix("d ").split(".")[0] in names, value.name


def test_a_resident_data_set_is_named():
    with mocha.System(Budgeted(MIB, resident_bytes=10**9)) as system:
        message = r"Net 'net', resident data sets: 2,200,\d+ bytes.*'data\[0\]'.*resident_bytes"
        with pytest.raises(BackendError, match=message):
            wide(system, rows=500, features=1000, outputs=100).forward()


@pytest.mark.parametrize("prefetch", [False, True])
def test_the_buffers_of_a_feed_are_named(monkeypatch, prefetch):
    with mocha.System(Plain()) as system:
        net = wide(system, batch=1024, prefetch=prefetch)
        monkeypatch.setattr(host_memory, "free_bytes", lambda: 6 * MIB)
        count = 3 if prefetch else 1
        size = f"{count * 8_192_000:,} bytes"
        message = rf"^Layer 'data', buffers for minibatches of 1,024 rows: {size}.*this machine.*'data\.data'"
        with pytest.raises(BackendError, match=message):
            net.forward()
        monkeypatch.undo()
        assert np.isfinite(net.forward())


def test_what_the_host_needs_is_asked_for(monkeypatch):
    with mocha.System(Plain()) as system:
        net = wide(system, outputs=10)
        monkeypatch.setattr(host_memory, "free_bytes", lambda: 7 * MIB)
        with pytest.raises(BackendError, match=r"^Initial parameters: 8,000,000 bytes.*'wide\.weight' float64"):
            wide(system, "large")
        tall = wide(system, "tall", features=10, outputs=60_000)
        monkeypatch.setattr(host_memory, "free_bytes", lambda: 2 * MIB)
        with pytest.raises(BackendError, match=r"^A copy on the host: 2,400,000 bytes.*'wide\.weight'"):
            tall.parameters["wide"]["weight"].numpy()
        monkeypatch.setattr(host_memory, "free_bytes", lambda: 7 * MIB)
        with pytest.raises(BackendError, match=r"^Net 'net', predictions: 8,000,000 bytes.*'x' float32.*fewer rows"):
            net.predict(np.zeros((200_000, 1000), np.int8), "x")
        solver = SGD(mocha.SolverParameters(max_iter=1, accumulate=2**30))
        with pytest.raises(BackendError, match=r"^Net 'net', 1,073,741,824 minibatches at once"):
            solver.solve(net)


@pytest.mark.parametrize("size", [2**30, 2**31 - 1])
def test_absurd_sizes_are_refused(size):
    """Before any loop over the rows."""
    with mocha.System(Budgeted(10**9)) as system:
        for prefetch in (False, True):
            net = wide(system, batch=size, prefetch=prefetch)
            assert str(size) in net.summary()
            with pytest.raises(BackendError, match=rf"^Net 'net', training batch {size}, its largest value alone"):
                net.forward()
            with pytest.raises(BackendError):
                trains(net)
            with pytest.raises(BackendError, match="test batch"):
                net.forward_epoch()
        tall = InnerProductLayer(name="tall", output_dim=size, bottoms=["x"], tops=["y"])
        with pytest.raises(BackendError, match=r"^Net 'net', parameters: .*'tall\.weight'"):
            wide(system, layers=[tall])
        assert trains(wide(system))


@pytest.mark.parametrize("size", [2**31, 2**63, 2**200])
def test_sizes_that_no_kernel_counts_with_are_refused(size):
    with mocha.System(Plain()) as system, pytest.raises(ConfigurationError, match=r"batch_size.* <= 2147483647"):
        wide(system, batch=size)


def test_absurd_batches_of_resident_data_sets():
    with mocha.System(Budgeted(10**8, resident_bytes=10**7)) as system:
        assert trains(wide(system))
    message = r"Net 'net', cells: .*'data\.rows"
    with mocha.System(Budgeted(10**6, resident_bytes=10**7)) as system, pytest.raises(BackendError, match=message):
        wide(system, features=1, outputs=1, batch=10**6)


def leftovers(system):
    gc.collect()
    return sum(arena.nbytes for arena in list(system.backend.held)), sum(map(len, system._own.values()))


@pytest.mark.parametrize(
    "budget", [PARAMETERS // 2, PARAMETERS * 3 // 2, PARAMETERS * 5 // 2, PARAMETERS * 3 + 100_000]
)
def test_nothing_stays_of_a_net_that_failed(budget):
    """Wherever it failed: parameters, gradients, slots, or the program."""
    with mocha.System(Budgeted(budget)) as system:
        small = wide(system, "small", features=10, outputs=10)
        assert trains(small)
        before = leftovers(system)
        for _ in range(3):
            with pytest.raises(BackendError):
                trains(wide(system, batch=100))
        assert leftovers(system) == before
        assert trains(small)
        assert trains(wide(system, "another", features=20, outputs=10))


def test_sources_and_threads_of_a_net_that_could_not_be_built_end():
    import threading

    before = set(threading.enumerate())
    opened = []

    class Watching(MemoryLayer):
        def open(self, seed):
            opened.append(super().open(seed))
            return opened[-1]

    with mocha.System(Budgeted(MIB)) as system:
        data = Watching(name="data", batch_size=2, arrays=[np.zeros((4, 1000))], tops=("data",), prefetch=True)
        x = InnerProductLayer(name="wide", output_dim=1000, bottoms=["data"], tops=["x"])
        with pytest.raises(BackendError, match="parameters"):
            mocha.Net("net", system, [data, x])
        assert [source.closed for source in opened] == [True]
        assert not list(system.nets)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("spare", [0, PARAMETERS, 2 * PARAMETERS])
def test_a_solver_that_could_not_begin_begins_when_there_is_room(spare):
    """It fails at the gradients, at the slots, or at the program; afterwards all is as if it had not been tried."""

    def solved(budgets):
        with mocha.System(Budgeted(budgets[0]), seed=4) as system:
            net, solver = wide(system, batch=200), SGD(parameters(max_iter=3))
            for limit in budgets[:-1]:
                system.backend.budget = limit
                with pytest.raises(BackendError):
                    solver.solve(net)
                assert solver.state.iteration == 0
                assert all(value in system.storage for value in solver.memories(net).values())
            system.backend.budget = budgets[-1]
            solver.solve(net)
            assert solver.state.iteration == 3
            return net.parameters["wide"]["weight"].numpy()

    np.testing.assert_array_equal(solved([PARAMETERS + 50_000 + spare, 10**9]), solved([10**9]))


def test_a_summary_can_be_asked_for_before_anything_is_compiled():
    with mocha.System(Plain()) as system:
        net = wide(system)
        assert net.summary().splitlines()[-1] == "1,001,000 parameters, 4,004,000 bytes"
        net.forward()
        assert f"{net.program().memory.total:,} bytes" in net.summary().splitlines()[-1]


# What the host has left.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Files as Linux has them, made up: `machine(meminfo=..., groups={path: text})`."""

    def make(meminfo="", own="", groups=()):
        for name, text in (("meminfo", meminfo), ("own", own)):
            (tmp_path / name).write_text(text)
        for name, text in dict(groups).items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(host_memory.sys, "platform", "linux")
        monkeypatch.setattr(host_memory, "MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(host_memory, "OWN_CGROUPS", tmp_path / "own")
        monkeypatch.setattr(host_memory, "CGROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(host_memory, "_address_space", lambda: iter(()))
        return host_memory.free_bytes()

    return make


MEMINFO = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:   600 kB\nSwapFree: 50 kB\n"


def test_what_the_machine_has_available(machine):
    assert machine(MEMINFO) == 600 * 1024
    assert machine("") is None


def test_control_groups_of_version_2_and_their_parents(machine):
    groups = {
        "a/b/memory.max": "max\n",
        "a/b/memory.current": "100\n",
        "a/memory.max": "5000\n",
        "a/memory.current": "4000\n",
        "a/memory.stat": "anon 3000\nfile 900\ninactive_file 300\nactive_file 200\nshmem 400\n",
    }
    assert machine(MEMINFO, "0::/a/b\n", groups) == 5000 - 4000 + 300 + 200
    groups["a/b/memory.max"] = "1000\n"
    assert machine(MEMINFO, "0::/a/b\n", groups) == 900
    assert machine(MEMINFO, "0::/elsewhere\n", groups) == 600 * 1024
    groups["a/b/memory.current"] = "1001\n"
    assert machine(MEMINFO, "0::/a/b\n", groups) == 0


def test_control_groups_of_version_1(machine):
    groups = {
        "memory/memory.limit_in_bytes": "5000\n",
        "memory/memory.usage_in_bytes": "4500\n",
        "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 30\ntotal_active_file 20\n",
        "memory.max": "1\n",
        "memory.current": "1\n",
    }
    own = "9:name=systemd:/\n4:cpu,memory:/docker/abc\n3:cpuset:/x:y\n"
    assert machine(MEMINFO, own, groups) == 550


def test_elsewhere_nothing_is_known(machine, monkeypatch):
    machine(MEMINFO)
    monkeypatch.setattr(host_memory.sys, "platform", "darwin")
    assert host_memory.free_bytes() is None


def test_backends_say_nothing_unless_they_know(monkeypatch):
    class OnHost(Plain):
        arrays_on_host = True

    monkeypatch.setattr(host_memory, "free_bytes", lambda: 100)
    assert (Plain().free_bytes(), OnHost().free_bytes()) == (None, 100)


LIMITED = """
    import resource, sys
    import numpy as np
    import mocha_core as mocha
    from mocha_core import layers, solvers
    from mocha_core.host import memory as host_memory

    def rows(count):
        return [np.broadcast_to(np.ones(shape), (count, *shape)) for shape in ((1, 28, 28), ())]

    def net(system, batch):
        data = layers.MemoryDataLayer(name="data", data=rows(batch), batch_size=batch)
        conv = layers.ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"])
        ip = layers.InnerProductLayer(name="ip", output_dim=3, bottoms=["conv1"], tops=["ip"])
        return mocha.Net("LeNet", system, [data, conv, ip, layers.SoftmaxLossLayer(bottoms=["ip", "label"])])

    def train(system, batch):
        solver = solvers.SGD(mocha.SolverParameters(max_iter=2, lr_policy=0.001))
        solver.solve(net(system, batch))
        return solver.state.objective

    with mocha.System("cpu") as system:
        train(system, 2)
        {limit}
        for _ in range(3):
            try:
                train(system, batch)
            except mocha.errors.BackendError as error:
                print(error)
            assert np.isfinite(train(system, 2))
    print("trained")
"""
ADDRESS_SPACE = """
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 400 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        batch = 8192
"""
# One blob takes 60 %, the program three blobs: what Linux would grant, and then end the process for. The machine may
# well have somewhat more or less left by the time the program is made.
AVAILABLE = """
        (available,) = (int(l.split()[1]) for l in open("/proc/meminfo") if l.startswith("MemAvailable"))
        batch = int(0.6 * 1024 * available / (20 * 24 * 24 * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what is left")
@pytest.mark.parametrize("limit", [ADDRESS_SPACE, AVAILABLE], ids=["RLIMIT_AS", "MemAvailable"])
def test_a_batch_beyond_what_the_process_may_have_leaves_it_alive(limit):
    code = textwrap.dedent(LIMITED.format(limit=limit.strip()))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    *errors, last = done.stdout.splitlines()
    assert last == "trained"
    assert len(errors) == 3
    for error in errors:
        assert error.startswith("Net 'LeNet', training batch ")
        assert "'conv1.convolution'" in error
        assert "iB) left. " in error


def test_the_cpu_backend_refuses_what_the_machine_does_not_have(monkeypatch):
    from mocha_cpu.backend import CPUBackend

    monkeypatch.setattr(host_memory, "free_bytes", lambda: 100 * MIB)
    with mocha.System(CPUBackend()) as system:
        small = wide(system, batch=4)
        with pytest.raises(
            MochaError, match=r"backend 'cpu' can give, which has 104,857,600 bytes \(100\.0 MiB\) left"
        ):
            trains(wide(system, batch=100_000))
        assert trains(small)
