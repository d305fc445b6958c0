"""What cuBLASLt is told: a fake one, built by gcc, keeps it, and NumPy computes what its header says it means."""

import gc

import numpy as np
import pytest
from fake_cublaslt import FakeDevice, FakeLibrary
from host_device import HostDevice
from host_matmuls import HostMatmuls
from mocha_cuda.autotune import ROUNDS
from mocha_cuda.cublaslt.constants import ComputeType, ReductionScheme
from mocha_cuda.cublaslt.matmul import Epilogue
from mocha_cuda.cublaslt.matmuls import WORKSPACE, Matmuls

from mocha_core.errors import BackendError


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return FakeLibrary(tmp_path_factory.mktemp("cublaslt"))


@pytest.fixture
def fake(built):
    built.products.clear()
    built.refuse()
    return built


@pytest.fixture
def matmuls(fake, monkeypatch):
    """Without measuring."""
    monkeypatch.setenv("MOCHA_CUDA_AUTOTUNE", "0")
    return Matmuls(FakeDevice(), fake.lt)


def operand(rng, shape, dtype, padding=0):
    """Rows that are so far apart."""
    array = rng.standard_normal((*shape[:-1], shape[-1] + padding)).astype(dtype)
    return array[..., : shape[-1]]


def problem(rng, dtype, epilogue, batch=None):
    m, n, k = (int(size) for size in rng.integers(1, 12, 3))
    transpose_a, transpose_b = (bool(flag) for flag in rng.integers(0, 2, 2))
    lead = () if batch is None else (batch,)
    a = operand(rng, lead + ((k, m) if transpose_a else (m, k)), dtype, rng.integers(0, 3))
    b = operand(rng, lead + ((n, k) if transpose_b else (k, n)), dtype, rng.integers(0, 3))
    d = operand(rng, (*lead, m, n), dtype, rng.integers(0, 3))
    length = {Epilogue.BIAS: n, Epilogue.RELU_BIAS: n, Epilogue.SUMS_OF_A: m}.get(epilogue)
    vector = None if length is None else operand(rng, (length,), dtype)
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b, "epilogue": epilogue}
    options |= {"alpha": float(rng.choice([1, 0.5])), "beta": float(rng.choice([0, 1, -2]))}
    return a, b, d, vector, options


def expected(a, b, d, vector, options):
    """Both results, from the definition."""
    a, b, d = (np.array(array, np.float64) for array in (a, b, d))
    v = None if vector is None else np.array(vector, np.float64)
    op_a = np.moveaxis(a, -1, -2) if options["transpose_a"] else a
    op_b = np.moveaxis(b, -1, -2) if options["transpose_b"] else b
    result = options["alpha"] * np.einsum("...ik,...kj->...ij", op_a, op_b) + options["beta"] * d
    match options["epilogue"]:
        case Epilogue.BIAS:
            result = result + v
        case Epilogue.RELU_BIAS:
            result = np.maximum(result + v, 0)
        case Epilogue.SUMS_OF_A:
            v = op_a.sum(-1)
    return result, v


def close(received, wanted, dtype):
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(received, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("epilogue", Epilogue)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", ["cublaslt", "host"])
def test_row_major_products(rng, fake, matmuls, where, dtype, epilogue):
    if where == "host":
        matmuls = HostMatmuls(HostDevice())
    for _ in range(60):
        a, b, d, vector, options = problem(rng, dtype, epilogue)
        wanted = expected(a, b, d, vector, options)
        matmuls.bind(a, b, d, vector=vector, **options)()
        close(d, wanted[0], dtype)
        if vector is not None:
            close(vector, wanted[1], dtype)


@pytest.mark.parametrize("epilogue", [Epilogue.NONE, Epilogue.BIAS, Epilogue.RELU_BIAS])
@pytest.mark.parametrize("where", ["cublaslt", "host"])
def test_batches(rng, fake, matmuls, where, epilogue):
    if where == "host":
        matmuls = HostMatmuls(HostDevice())
    for batch in (1, 2, 5):
        for _ in range(20):
            a, b, d, vector, options = problem(rng, "float32", epilogue, batch)
            if rng.integers(2):
                b = b[0]  # one for all
            wanted = expected(a, b, d, vector, options)
            matmuls.bind(a, b, d, vector=vector, **options)()
            close(d, wanted[0], "float32")


def test_a_vector_as_a_matrix_of_one_row_or_column(rng, fake, matmuls):
    for a_shape, b_shape in (((1, 7), (7, 4)), ((5, 1), (1, 4)), ((5, 7), (7, 1)), ((1, 1), (1, 1))):
        a, b = operand(rng, a_shape, "float32"), operand(rng, b_shape, "float32")
        d = operand(rng, (a_shape[0], b_shape[1]), "float32")
        matmuls.bind(a, b, d)()
        close(d, a @ b, "float32")
    a, b, d = operand(rng, (5, 1), "float32", 6), operand(rng, (1, 4), "float32"), operand(rng, (5, 4), "float32")
    matmuls.bind(a, b, d)()
    close(d, a @ b, "float32")


@pytest.mark.parametrize(
    ("precision", "dtype", "compute"),
    [
        ("tf32", "float32", ComputeType._32F_FAST_TF32),
        ("float32", "float32", ComputeType._32F),
        ("bf16", "float32", ComputeType._32F_FAST_16BF),
        ("tf32", "float64", ComputeType._64F),
        ("bf16", "float64", ComputeType._64F),
    ],
)
def test_precision(rng, fake, matmuls, precision, dtype, compute):
    a, b, d, _, options = problem(rng, dtype, Epilogue.NONE)
    matmuls.bind(a, b, d, precision=precision, **options)()
    assert fake.products[-1].compute == compute


def test_what_a_search_asks_for(rng, fake, matmuls):
    memory = np.zeros(4096, np.uint8)
    start = -memory.ctypes.data % 256

    def at(offset, shape):
        return memory[start + offset :][: 4 * shape[0] * shape[1]].view(np.float32).reshape(shape)

    a, b, d = at(16, (3, 5)), at(1024, (5, 7)), at(2048 + 64, (3, 7))
    matmuls.bind(a, b, d)
    # A and B have changed places.
    assert fake.wanted() == {
        "MAX_WORKSPACE_BYTES": 32 << 20,
        "REDUCTION_SCHEME_MASK": 0,  # never set
        "MIN_ALIGNMENT_A_BYTES": 256,
        "MIN_ALIGNMENT_B_BYTES": 16,
        "MIN_ALIGNMENT_C_BYTES": 64,
        "MIN_ALIGNMENT_D_BYTES": 64,
    }
    matmuls.bind(a, b, d, deterministic=True)
    assert fake.wanted()["REDUCTION_SCHEME_MASK"] == ReductionScheme.COMPUTE_TYPE


def test_the_second_of_a_batch_counts_for_alignment(rng, fake, matmuls):
    a, b, d = (np.zeros((2, 3, 3), np.float32) for _ in range(3))
    matmuls.bind(a, b, d)
    assert fake.wanted()["MIN_ALIGNMENT_A_BYTES"] == 4


def test_workspace_and_stream(rng, fake, matmuls):
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    matmuls.bind(a, b, d, **options)()
    call = fake.products[-1].call
    (workspace,) = matmuls._device.held
    assert (call.workspace, call.workspace_bytes) == (workspace.ctypes.data, WORKSPACE)
    assert workspace.nbytes == WORKSPACE
    assert call.stream == 77
    assert call.algorithm == 100
    assert call.c == call.d == d.ctypes.data


def test_bound_products_hold_what_they_need_and_nothing_leaks(rng, fake, matmuls):
    gc.collect()
    before = fake.alive
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    wanted = expected(a, b, d, None, options)
    bound = matmuls.bind(a, b, d, **options)
    gc.collect()
    bound()
    close(d, wanted[0], "float32")
    assert fake.alive > before
    del bound
    gc.collect()
    assert fake.alive == before
    del matmuls


def timed(fake, *times):
    """Whose algorithms take so long."""
    device = FakeDevice(times=[time for time in times for _ in range(ROUNDS)])
    return Matmuls(device, fake.lt)


@pytest.mark.parametrize("epilogue", [Epilogue.NONE, Epilogue.BIAS, Epilogue.SUMS_OF_A])
def test_the_fastest_is_taken_and_remembered(rng, fake, epilogue):
    matmuls = timed(fake, 3, 1, 2)
    a, b, d, vector, options = problem(rng, "float32", epilogue)
    kept = [np.array(array) for array in (a, b, d)]
    wanted = expected(a, b, d, vector, options)
    bound = matmuls.bind(a, b, d, vector=vector, **options)
    # Measuring does not touch the operands.
    assert all(map(np.array_equal, (a, b, d), kept))
    assert {product.call.algorithm for product in fake.products} == {100, 101, 102}
    bound()
    assert fake.products[-1].call.algorithm == 101
    close(d, wanted[0], "float32")
    before = len(fake.products)
    matmuls.bind(a, b, d, vector=vector, **options)()
    assert fake.products[-1].call.algorithm == 101
    # What was measured may differ from one process to the next.
    matmuls.bind(a, b, d, vector=vector, deterministic=True, **options)()
    assert fake.products[-1].call.algorithm == 100
    assert len(fake.products) == before + 2


def test_measuring_can_be_turned_off(rng, fake, monkeypatch):
    monkeypatch.setenv("MOCHA_CUDA_AUTOTUNE", "0")
    matmuls = timed(fake)
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    matmuls.bind(a, b, d, **options)()
    assert fake.products[-1].call.algorithm == 100


def test_without_memory_for_measuring_the_first_is_taken(rng, fake):
    matmuls = timed(fake)

    def full(shape, dtype):
        raise MemoryError

    matmuls._device.empty = full
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    matmuls.bind(a, b, d, **options)()
    assert fake.products[-1].call.algorithm == 100


def test_algorithms_that_the_library_takes_back_are_left_out(rng, fake):
    matmuls = timed(fake, 1, 2)
    fake.refuse(algorithm=0)
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    matmuls.bind(a, b, d, **options)()
    assert fake.products[-1].call.algorithm == 101


def test_algorithms_that_do_not_run_are_left_out(rng, fake):
    matmuls = timed(fake, 2, 1)
    fake.refuse(running=100)
    a, b, d, _, options = problem(rng, "float32", Epilogue.NONE)
    matmuls.bind(a, b, d, **options)()
    assert fake.products[-1].call.algorithm == 102


def test_none_runs(rng, fake):
    matmuls = timed(fake)
    a, b, d, vector, options = problem(rng, "float32", Epilogue.BIAS)
    fake.refuse("cublasLtMatmul", 15)
    assert matmuls.bind(a, b, d, vector=vector, **options) is None
    fake.refuse("cublasLtMatmul", 13)
    with pytest.raises(BackendError, match=r"k=\d+, float32 by 32F, BIAS: cublasLtMatmul returned CUBLAS_STATUS_EXEC"):
        matmuls.bind(a, b, d, vector=vector, **options)


@pytest.mark.parametrize("status", [7, 8, 15])
def test_what_is_not_served(rng, fake, matmuls, status):
    a, b, d, vector, options = problem(rng, "float32", Epilogue.SUMS_OF_A)
    fake.refuse("cublasLtMatmulAlgoGetHeuristic", status)
    assert matmuls.bind(a, b, d, vector=vector, **options) is None
    options["epilogue"] = Epilogue.NONE
    with pytest.raises(
        BackendError, match=r"of m=\d+ n=\d+ k=\d+, float32 by 32F, NONE: cublasLtMatmulAlgoGet.* return"
    ):
        matmuls.bind(a, b, d, **options)
    with pytest.raises(BackendError, match=r"^Layer 'ip': A"):
        matmuls.bind(a, b, d, label="Layer 'ip'", **options)
    fake.refuse(algorithms=0)
    with pytest.raises(BackendError, match="CUBLAS_STATUS_NOT_SUPPORTED"):
        matmuls.bind(a, b, d, **options)


@pytest.mark.parametrize(
    "function",
    [
        "cublasLtMatrixLayoutCreate",
        "cublasLtMatmulDescCreate",
        "cublasLtMatmulDescSetAttribute",
        "cublasLtMatmulPreferenceCreate",
        "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulAlgoGetHeuristic",
        "cublasLtMatmul",
    ],
)
def test_a_function_that_fails_is_named(rng, fake, matmuls, function):
    gc.collect()
    before = fake.alive
    a, b, d, vector, options = problem(rng, "float32", Epilogue.BIAS)
    fake.refuse(function, 14)
    said = rf"{function} returned CUBLAS_STATUS_INTERNAL_ERROR \(14: as told\); this is cuBLASLt 131000\. Try a newer"
    with pytest.raises(BackendError, match=said):
        matmuls.bind(a, b, d, vector=vector, **options)()
    fake.refuse(function, 99)
    with pytest.raises(BackendError, match=rf"{function} returned an unknown status \(99"):
        matmuls.bind(a, b, d, vector=vector, **options)()
    gc.collect()
    assert fake.alive == before


def test_no_handle(fake):
    fake.refuse("cublasLtCreate", 1)
    with pytest.raises(BackendError, match="cublasLtCreate returned CUBLAS_STATUS_NOT_INITIALIZED"):
        Matmuls(FakeDevice(), fake.lt)


def test_arrays_that_do_not_fit(rng, fake, matmuls):
    def of(*shape, dtype="float32"):
        return np.zeros(shape, dtype)

    with pytest.raises(BackendError, match=r"\(1, 2, 3\) and float32 \(1, 5, 4\) to .* in A B of m=2"):
        matmuls.bind(of(2, 3), of(5, 4), of(2, 4))
    with pytest.raises(BackendError, match="in A B' of m=2 n=4 k=3"):
        matmuls.bind(of(2, 3), of(3, 4), of(2, 4), transpose_b=True)
    with pytest.raises(BackendError, match="do not fit"):
        matmuls.bind(of(3, 2, 3), of(2, 3, 4), of(3, 2, 4))
    with pytest.raises(BackendError, match="do not fit"):
        matmuls.bind(of(2, 3), of(3, 4), of(2, 4, dtype="float64"))
    with pytest.raises(BackendError, match="overwrite each other"):
        matmuls.bind(of(3, 2, 3), of(3, 4), np.broadcast_to(of(2, 4), (3, 2, 4)))
    with pytest.raises(BackendError, match=r"shape \(2, 3\), dtype int32"):
        matmuls.bind(of(2, 3, dtype="int32"), of(3, 4), of(2, 4))
    with pytest.raises(BackendError, match=r"strides \(4, 8\): expected .* contiguous rows"):
        matmuls.bind(of(3, 2).T, of(3, 4), of(2, 4))
    with pytest.raises(BackendError, match="not empty"):
        matmuls.bind(of(2, 0), of(0, 4), of(2, 4))
