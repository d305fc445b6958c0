"""Sums over several blocks: the same bytes whichever block comes last, in every launch of a bound kernel."""

import numpy as np
import pytest
from against_reference import DTYPES
from convolution_case import Case
from guarded import chosen
from host_backend import HostBackend
from mocha_cuda.compiled import THREADS
from mocha_layers_std.accuracy import Accuracy
from mocha_layers_std.multinomial_logistic_loss import MultinomialLogisticLoss
from mocha_layers_std.softmax_loss import SoftmaxLoss
from mocha_layers_std.square_loss import SquareLoss

#: Of a grid's blocks, launch by launch.
ORDERS = ["", "reversed", "shuffled", "shuffled", ""]


@pytest.fixture
def results(monkeypatch):
    """What launches return, one in each order of the blocks."""

    def run(launch):
        found = []
        for order in ORDERS:
            monkeypatch.setenv("MOCHA_CUDA_BLOCK_ORDER", order)
            found.append(launch())
        return found

    return run


def spoil(array):
    """As other steps may leave a workspace."""
    array.fill(77 if array.dtype == np.int32 else np.nan)


def check_sum(results, op, given, blocks):
    """The forward half in this many blocks. Returns its first output, or what it has updated last."""
    call, kernel = chosen(op, *given)
    assert kernel.blocks == blocks
    made = [np.empty(v.shape, v.dtype) for v in call.outs[: len(call.outs) - len(op.updates)]]
    workspace = [np.empty(spec.shape, spec.dtype) for spec in kernel.forward_workspace]
    held = [np.array(array) for array in given]
    outs = [*made, *(held[i] for i in op.updates)]
    run = kernel.forward(held, [*outs, *workspace], [False] * len(outs))

    def launch():
        for array in (*made, *workspace):
            spoil(array)
        for i in op.updates:
            held[i][...] = given[i]
        run()
        return [array.tobytes() for array in outs]

    first, *others = results(launch)
    assert all(other == first for other in others)
    return outs[0] if made else outs[-1]


def labelled(rng, rows, classes, dtype):
    """Probabilities, labels, and all rows but one count."""
    labels = rng.integers(0, classes, rows).astype(np.int32)
    return [rng.uniform(0.1, 1, (rows, classes)).astype(dtype), labels, np.asarray(rows - 1, np.int32)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "blocks"), [(100, 1), (3000, 12)])
@pytest.mark.parametrize(
    ("op", "lanes"), [(MultinomialLogisticLoss(5, 3), 1), (SoftmaxLoss(5, 3), 4)], ids=["log", "softmax"]
)
def test_losses_of_classes(rng, results, op, lanes, rows, blocks, dtype):
    given = [*labelled(rng, rows, 3, dtype), np.asarray(0, np.int32)]
    loss = check_sum(results, op, given, blocks if blocks == 1 else -(-rows * lanes // THREADS))
    np.testing.assert_allclose(loss, op.forward(np, given[0].astype(np.float64), *given[1:])[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "blocks"), [(100, 1), (3000, 47)])
def test_accuracy(rng, results, rows, blocks, dtype):
    x, labels, valid = labelled(rng, rows, 3, dtype)
    total = check_sum(
        results, Accuracy(5, 3), [x, labels, valid, np.asarray(0, np.int32), np.array([2.0, 3.0])], blocks
    )
    assert total.tolist() == [2 + np.sum((x.argmax(1) == labels)[:-1]), 3 + rows - 1]


@pytest.mark.parametrize(("rows", "blocks"), [(2048, 1), (2049, 9), (70_000, 274)])
def test_square_loss_has_more_blocks_than_a_block_has_threads(rng, results, rows, blocks):
    x, y = rng.standard_normal((2, rows))
    loss = check_sum(results, SquareLoss(), [x, y, np.asarray(rows - 1, np.int32)], blocks)
    np.testing.assert_allclose(loss, np.sum((x - y)[:-1] ** 2) / 2 / (rows - 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "slices"), [(1, 1), (97, 2), (600, 14)])
def test_the_gradient_of_a_bias(rng, results, batch, slices, dtype):
    case = Case(rng, HostBackend(), (batch, 1, 9, 11), 3, (1, 1), (1, 1), (0, 0), 1, dtype)
    assert case.kernel.slices == slices
    sums, db = case.blank([case.kernel.sums, case.ins[2].spec])
    for add in (False, True):
        run = case.kernel.bias(case.dy, db, sums, add)

        def launch(run=run):
            spoil(sums)
            db.fill(2)
            run()
            return db.tobytes()

        first, *others = results(launch)
        assert all(other == first for other in others)
        np.testing.assert_allclose(db, case.dy.astype(np.float64).sum((0, 2, 3)) + 2 * add, rtol=1e-4, atol=1e-4)
