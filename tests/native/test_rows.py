"""Predictions by programs that are bound to arrays of rows: as by the others, and refused where these are."""

import os
import threading

import numpy as np
import pytest
from mocha_native import program as native_program
from mocha_native.backend import NativeBackend
from nets import BODIES, data, parameters

import mocha_core as mocha
from mocha_core import layers, neurons, solvers
from mocha_core.errors import ShapeError, StateError

SIZES = range(1, 41)
SHAPE = (1, 12, 12)


@pytest.fixture
def calls(monkeypatch):
    """How many rows each call of a bound program had."""
    found = []

    class Counting(native_program.RowsRun):
        def __call__(self, rows):
            found.append(len(rows))
            return super().__call__(rows)

    monkeypatch.setattr(native_program, "RowsRun", Counting)
    return found


def opened(body, dtype="float32", threads=1):
    system = mocha.System(NativeBackend(threads=threads), seed=2, dtype=dtype)
    return system, mocha.Net("net", system, [data(), *BODIES[body]()])


def images(dtype="float32"):
    return np.random.default_rng(3).standard_normal((40, *SHAPE)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("body", BODIES)
def test_every_number_of_rows_has_the_result_of_a_first_prediction(isa, calls, body, dtype):
    system, net = opened(body, dtype)
    rows = images(dtype)
    with system:
        first = [net.predict({"data": rows[:n]}, "y", batch_size=64) for n in SIZES]
        assert not calls
        for _ in range(2):
            again = [net.predict(rows[:n], "y", batch_size=64) for n in SIZES]
            for a, b in zip(first, again, strict=True):
                assert (a.tobytes(), a.shape, a.dtype) == (b.tobytes(), b.shape, b.dtype)
        assert sum(calls) == 2 * sum(SIZES)
        if body == "perceptron":
            assert calls == [*SIZES] * 2


def test_images_are_divided(calls):
    """Numbers of rows by the numbers of rows asked for."""
    system, net = opened("lenet")
    divided = {
        1: [1], 3: [2, 1], 5: [4, 1], 6: [4, 2], 7: [7], 9: [8, 1], 14: [14], 17: [16, 1], 28: [28], 29: [29],
        32: [32], 37: [32, 4, 1], 64: [32, 32], 100: [32, 32, 32, 4],
    }  # fmt: skip
    rows = np.resize(images(), (200, *SHAPE))
    with system:
        for n in divided:
            net.predict(rows[:n], "y", batch_size=256)
        for n, parts in divided.items():
            calls.clear()
            net.predict(rows[:n], "y", batch_size=256)
            assert calls == parts
    assert mocha.System("cpu").backend.images_at_once == 32
    assert NativeBackend(threads=9).images_at_once == 256


def test_other_arrays_have_the_same_result(calls):
    system, net = opened("lenet")
    rows = images()[:7]
    with system:
        expected = [net.predict(rows, "y") for _ in range(2)]
        assert calls == [7]
        given = [
            rows.tolist(),
            rows.astype("float64"),
            rows.astype(">f4"),
            np.asfortranarray(rows),
            np.repeat(rows, 2, axis=3)[..., ::2],
            np.ma.array(rows),
            rows[:].view(type("Mine", (np.ndarray,), {})),
            {"data": rows},
        ]
        for other in [*expected, *(net.predict(array, "y") for array in given)]:
            assert other.tobytes() == expected[0].tobytes()
        assert calls == [7]
        net.predict(rows, "y")
        assert calls == [7, 7]


def test_what_is_refused_stays_refused(calls):
    system, net = opened("perceptron")
    rows = images()[:2]
    with system:
        for _ in range(2):
            net.predict(rows, "y")
        for wrong in (
            rows[0],
            rows[:, :, :5],
            rows.reshape(2, 144),
            rows.astype(complex),
            np.ma.masked_equal(rows, rows[0, 0, 0, 0]),
        ):
            with pytest.raises(ShapeError):
                net.predict(wrong, "y")
        net.destroy()
        with pytest.raises(StateError, match="was destroyed"):
            net.predict(rows, "y")
    with pytest.raises(StateError, match="is closed"):
        net.predict(rows, "y")
    assert calls == [2]


def test_results_belong_to_the_caller_and_follow_the_parameters(calls):
    system, net = opened("lenet")
    rows = images()[:4]
    with system:
        first = [net.predict(rows, "y") for _ in range(2)]
        kept = first[1].copy()
        first[1][...] = 0
        net.predict(rows + 1, "y")
        assert net.predict(rows, "y").tobytes() == kept.tobytes()
        solvers.SGD(parameters(3)).solve(net)
        trained = net.predict(rows, "y")
        assert (trained != kept).any()
        assert trained.tobytes() == net.predict({"data": rows}, "y").tobytes()
    assert len(calls) == 4


def test_a_shown_program_still_knows_how_many_rows_count(calls):
    system, net = opened("perceptron")
    rows = images()
    with system:
        expected = {n: net.predict(rows[:n], "y") for n in (5, 7, 8)}
        for n in (5, 8, 7):
            net.program("y")
            assert net.predict(rows[:n], "y").tobytes() == expected[n].tobytes()
            assert net.predict({"data": rows[:n]}, "y").tobytes() == expected[n].tobytes()


def test_a_layer_that_python_runs_and_large_rows_go_the_other_way(calls):
    wide = layers.MemoryDataLayer(name="data", data=[np.ones((2, 2**17), "float32")], tops=["data"], batch_size=2)
    head = layers.InnerProductLayer(name="y", output_dim=2, bottoms=["data"], tops=["y"])
    with mocha.System(NativeBackend(threads=1)) as system:
        net = mocha.Net("wide", system, [wide, head])
        given = np.ones((2, 2**17), "float32")
        assert net.predict(given, "y").tobytes() == net.predict(given, "y").tobytes()
    assert not calls


def test_many_threads_predict_while_another_trains(calls):
    """Each answer belongs to the parameters of one moment, also if several programs compute it: each row repeats, so
    that all rows of an answer are the same, but for the rounding of other programs."""
    system, net = opened("lenet")
    rows = np.repeat(images()[:1], 24, axis=0)
    apart, done = [], threading.Event()
    with system:
        trained = mocha.Net("trained", system, net.layers)
        for n in range(1, 24):
            net.predict(rows[:n], "y", batch_size=32)

        def ask(first):
            while not done.is_set():
                answer = net.predict(rows[: 17 + first], "y", batch_size=32)
                apart.append(np.abs(answer - answer[0]).max())

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        # Many short runs: between two of them, predictions have their turn.
        for _ in range(60):
            solvers.SGD(parameters(1)).solve(trained)
        done.set()
        for thread in threads:
            thread.join()
        assert (
            net.predict(rows, "y", batch_size=32).tobytes() == net.predict({"data": rows}, "y", batch_size=32).tobytes()
        )
    assert max(apart) < 1e-5
    assert len(calls) > 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_predicts():
    system, net = opened("perceptron")
    rows = images()[:4]
    with system:
        expected = [net.predict(rows, "y") for _ in range(2)]
        child = os.fork()
        if child == 0:
            os._exit(int(net.predict(rows, "y").tobytes() != expected[0].tobytes()))
        assert os.waitpid(child, 0)[1] == 0


def test_a_fault_is_not_a_result():
    """The status cell of another kernel's fault: the rows go the other way, which raises it."""
    from mocha_native.compiled import address

    system, net = opened("perceptron")
    rows = images()[:4]
    with system:
        expected = net.predict(rows, "y")
        bound = net.program("y").bind(*net.program("y").plan.inputs.values(), net.program("y").plan.blobs["y"])
        assert bound(rows).tobytes() == expected.tobytes()
        status = np.ones(1, np.int32)
        bound._rows.run.status = address(status, "int32_t[]")
        assert bound(rows) is None
        status[0] = 0
        assert bound(rows).tobytes() == expected.tobytes()


def test_a_bound_program_reads_and_writes_no_more_than_it_has_room_for():
    system, net = opened("perceptron")
    with system:
        net.predict(images()[:4], "y")
        program = net.program("y")
        bound = program.bind(*program.plan.inputs.values(), program.plan.blobs["y"])
        for wrong in (images()[:5], images()[:0], images("float64")[:3], images()[:4, :, :5].copy()):
            with pytest.raises(ValueError, match="expected 1 to 4 rows of 576 bytes"):
                bound(wrong)
        with pytest.raises(TypeError):
            bound._run(images()[:4], images()[:4], 1)
        with pytest.raises(ValueError, match="expected 1 to 4 rows"):
            bound._run(images()[:4], np.empty((4, 1), "float32"))
        with pytest.raises(BufferError):
            bound._run(images()[:4], bytes(4))


def test_a_blob_of_images_in_lanes_is_plain_again():
    body = [
        layers.ConvolutionLayer(
            name="c", n_filter=5, kernel=(3, 3), neuron=neurons.ReLU(), bottoms=["data"], tops=["c"]
        )
    ]
    with mocha.System(NativeBackend(threads=1), seed=2) as system:
        net = mocha.Net("net", system, [data(), *body])
        for n in (1, 3, 16, 33):
            rows = images()[:n]
            found = [net.predict(rows, "c", batch_size=64) for _ in range(2)]
            assert found[0].shape == found[1].shape == (n, 5, 10, 10)
            assert found[0].tobytes() == found[1].tobytes()
