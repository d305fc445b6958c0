"""`CPUBackend`, its update kernel, and a whole net trained on it."""

import numpy as np
import pytest
from mocha_cpu.backend import CPUBackend
from mocha_cpu.sgd import BLOCK, SGD
from mocha_layers_std.regularizers import L1Regu, L2Regu, NoRegu
from mocha_solvers_std.sgd import SGDUpdate
from threadpoolctl import threadpool_info, threadpool_limits

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.compile.backend import Backend
from mocha_core.describe.layer import ComputationLayer
from mocha_core.describe.parameter import Constraint, Regularizer
from mocha_core.errors import ConfigurationError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Phase
from mocha_core.graph.value import Value
from mocha_core.host import cpus as host_cpus
from mocha_core.testing.backends import check_namespace


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (7, 1, 2)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint64", "float32", "float64"])
def test_arrays_are_aligned(shape, dtype):
    array = CPUBackend().empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.ctypes.data % 64 == 0
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_what_is_read_is_a_copy_and_what_is_written_is_cast():
    backend = CPUBackend()
    check_namespace(backend.xp, "cpu")
    array = backend.empty((2,), "float32")
    backend.copy_from_numpy(array, np.array([1, 2], np.int64))
    read = backend.to_numpy(array)
    backend.copy_from_numpy(array, np.array([3.0, 4.0]))
    assert read.tolist() == [1, 2]
    assert array.tolist() == [3, 4]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True])
def test_threads_must_be_a_positive_integer(threads):
    with pytest.raises(ConfigurationError, match=f"threads to be an integer >= 1, received {threads!r}"):
        mocha.System("cpu", threads=threads)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


SEEN = []


class Spy(Op):
    """Notes how many threads BLAS has while it runs."""

    name = "test.spy"

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        SEEN.append(blas_threads())
        return x


class SpyLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Spy(), x)


@pytest.mark.parametrize(
    ("threads", "quota", "inside"), [(2, None, {2}), (None, None, {3}), (None, 1, {1}), (None, 5, {3}), (2, 1, {2})]
)
def test_threads_are_limited_while_a_program_runs_and_no_longer(monkeypatch, threads, quota, inside):
    monkeypatch.setattr(host_cpus, "quota", lambda root=None: quota)
    data = layers.MemoryDataLayer(batch_size=2, data=[np.ones((2, 3))], tops=["x"])
    SEEN.clear()
    with threadpool_limits(3, "blas"), mocha.System("cpu", threads=threads) as system:
        mocha.Net("spied", system, [data, SpyLayer(bottoms=["x"], tops=["y"])]).forward(Phase.TEST)
        assert [inside] == SEEN
        assert blas_threads() == {3}


@pytest.mark.parametrize(
    ("threads", "blas", "programs"), [(None, 4, 1), (None, 2, 2), (None, 9, 1), (1, 4, 4), (3, 4, 1)]
)
def test_programs_at_once_share_the_processors(monkeypatch, threads, blas, programs):
    monkeypatch.setattr(host_cpus, "processors", lambda root=None: 4)
    monkeypatch.setattr(host_cpus, "quota", lambda root=None: None)
    with threadpool_limits(blas, "blas"), mocha.System("cpu", threads=threads) as system:
        assert system.backend.programs_at_once == programs


class Halves(Constraint):
    """Nothing beyond a half."""

    def project(self, xp, w):
        return xp.minimum(xp.maximum(w, -0.5), 0.5)


class WholeRows(Regularizer):
    """Pulls every row towards its mean: an element's gradient depends on its row."""

    def gradient(self, xp, w):
        return w - xp.mean(w, axis=1, keepdims=True)


class ShortRows(Constraint):
    """No row longer than 1."""

    def project(self, xp, w):
        norm = xp.sqrt(xp.sum(xp.square(w), axis=1, keepdims=True))
        return w / xp.maximum(norm, xp.ones_like(norm))


def update(op, arrays, status, dtype):
    """What the reference and the kernel make of the same operands: w, h and the status."""
    cells = [np.array(0.1, dtype), np.array(0.9, dtype), np.array(status, np.int32)]
    operands = [*(a.astype(dtype) for a in arrays), *cells]
    with np.errstate(all="ignore"):
        expected = op.forward(np, *operands)
        values = tuple(Value("operand", a.shape, str(a.dtype)) for a in operands)
        kernel = SGD(CPUBackend(), Call(op, values, (values[0], values[2], values[5])))
        outs = [operands[0], operands[2], operands[5]]
        scratch = [np.full(spec.shape, np.nan, spec.dtype) for spec in kernel.forward_workspace]
        gradient = operands[1].copy()
        kernel.forward(operands, [*outs, *scratch], [False] * 3)()
    np.testing.assert_array_equal(operands[1], gradient)
    return expected, outs


SHAPES = [(4, 5), (3, BLOCK), (1, 2 * BLOCK + 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("constraint", [None, Halves(), ShortRows()])
@pytest.mark.parametrize("regularizer", [None, NoRegu(), L1Regu(0.5), L2Regu(3.0), WholeRows()])
@pytest.mark.parametrize(("status", "fault"), [(0, 0), (0, 3), (4, 0), (4, 3)])
def test_sgd_updates_as_its_reference_does(regularizer, constraint, dtype, status, fault, shape):
    random = np.random.default_rng(3)
    op = SGDUpdate(2.0, 0.05, regularizer, constraint, fault)
    expected, found = update(op, random.normal(size=(3, *shape)), status, dtype)
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("constraint", [None, Halves()])
@pytest.mark.parametrize("operand", [0, 1, 2])
@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_sgd_writes_nothing_that_is_not_finite(operand, number, constraint, shape):
    """In float32, twice 3e38 overflows; the last element is the last that a kernel in blocks comes to."""
    arrays = np.random.default_rng(3).normal(size=(3, *shape))
    arrays[operand].flat[-1] = number
    op = SGDUpdate(20.0, 0.05, None, constraint, 3)
    expected, found = update(op, arrays, 0, "float32")
    clipped = constraint is not None and operand == 0 and number == np.inf
    stays_finite = clipped or (number == 3e38 and operand != 1)
    assert int(found[2]) == int(expected[2]) == (0 if stays_finite else 3)
    for one, other, old in zip(found[:2], expected, (arrays[0], arrays[2]), strict=False):
        if stays_finite:
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
        else:
            assert np.isfinite(one.flat[:-1]).all()
            np.testing.assert_array_equal(one.flat[-1], old.astype("float32").flat[-1])


class Plain(Backend):
    """NumPy without a kernel: every step is an op's reference."""

    name = "plain"
    xp = np

    def empty(self, shape, dtype):
        return np.zeros(shape, dtype)

    def to_numpy(self, array):
        return array.copy()

    def copy_from_numpy(self, array, source):
        array[...] = source


def small_net(system):
    """Something of everything that the examples are made of, a blob with two readers among it."""
    random = np.random.default_rng(7)
    images, labels = random.normal(size=(12, 3, 9, 9)), random.integers(0, 4, (12, 1))
    data = layers.MemoryDataLayer(batch_size=6, data=[images, labels])
    convolution = {"kernel": (3, 3), "pad": (1, 1), "neuron": neurons.ReLU()}
    pool = {"kernel": (3, 3), "stride": (2, 2)}
    within = layers.LRNMode.WithinChannel
    return mocha.Net(
        "small",
        system,
        [
            data,
            layers.ConvolutionLayer(n_filter=4, **convolution, bottoms=["data"], tops=["conv1"]),
            layers.PoolingLayer(**pool, bottoms=["conv1"], tops=["pool1"]),
            layers.LRNLayer(kernel=3, mode=within, bottoms=["pool1"], tops=["norm1"]),
            layers.ConvolutionLayer(
                n_filter=4, n_group=2, **convolution, bottoms=["norm1"], tops=["conv2"], name="conv2"
            ),
            layers.ElementWiseLayer(bottoms=["conv2", "norm1"], tops=["sum"]),
            layers.PoolingLayer(**pool, pooling=layers.Pooling.Mean, bottoms=["sum"], tops=["pool2"]),
            layers.DropoutLayer(bottoms=["pool2"], tops=["kept"]),
            layers.InnerProductLayer(output_dim=4, bottoms=["kept"], tops=["scores"]),
            layers.SoftmaxLossLayer(bottoms=["scores", "label"]),
        ],
    )


def trained(backend):
    with mocha.System(backend, dtype="float64", seed=2) as system:
        net = small_net(system)
        solver = solvers.SGD(mocha.SolverParameters(max_iter=5, lr_policy=0.05))
        solver.solve(net)
        kernels = net.runs.training_program(solver).kernels()
        values = [p.numpy() for layer in ("conv1", "conv2", "scores") for p in net.parameters[layer].values()]
        return solver.state.objective, values, kernels


def test_training_with_kernels_and_with_references_gives_the_same():
    objective, values, kernels = trained(CPUBackend())
    expected, references, _ = trained(Plain())
    assert objective == pytest.approx(expected, rel=1e-12)
    for ours, theirs in zip(values, references, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    referenced = {use.op for use in kernels if use.plugin == "reference"}
    assert referenced <= {"labels", "mocha.objective", "mocha.check_finite"}
