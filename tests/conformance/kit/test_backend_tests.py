"""`BackendTests` notices what it is for: each of these backends has one fault."""

from types import SimpleNamespace

import numpy as np
import pytest

from mocha_core.compile.program import Program
from mocha_core.errors import ConfigurationError
from mocha_core.graph import array_api
from mocha_core.testing import BackendTests
from mocha_core.testing.backends import ReferenceBackend


def suite_of(backend_under_test):
    class Suite(BackendTests):
        backend = backend_under_test

    return Suite()


def namespace(**changes):
    names = (*array_api.DTYPES, *array_api.FUNCTIONS)
    return SimpleNamespace(**({name: getattr(np, name) for name in names} | changes))


class Lacking(ReferenceBackend):
    name = "lacking"

    def __init__(self):
        self.xp = namespace()
        del self.xp.take_along_axis


class Narrow(ReferenceBackend):
    """Multiplies whole numbers of 64 bits as floats, as a device without them may."""

    name = "narrow"

    def empty(self, shape, dtype):
        return super().empty(shape, {"uint64": "uint32"}.get(dtype, dtype))


class WideSum(ReferenceBackend):
    name = "wide-sum"

    def __init__(self):
        self.xp = namespace(sum=lambda x, **options: np.sum(x, dtype=np.float64, **options))


class WrongAxis(ReferenceBackend):
    name = "wrong-axis"

    def __init__(self):
        self.xp = namespace(argmax=lambda x, axis, keepdims=False: np.argmax(-x, axis=axis, keepdims=keepdims))


class HidesNaN(ReferenceBackend):
    name = "hides-nan"

    def __init__(self):
        self.xp = namespace(maximum=np.fmax)


class Impure(ReferenceBackend):
    name = "impure"

    def __init__(self):
        self.xp = namespace(square=lambda x: np.square(x, out=x) if x.ndim else np.square(x))


class View(ReferenceBackend):
    name = "view"

    def to_numpy(self, array):
        return np.asarray(array)


class Uncast(ReferenceBackend):
    name = "uncast"

    def copy_from_numpy(self, array, source):
        array.reshape(-1).view(np.uint8)[:] = np.ascontiguousarray(source).reshape(-1).view(np.uint8)


class Memory(ReferenceBackend):
    """Takes the bytes of a host array as they lie."""

    name = "memory"

    def copy_from_numpy(self, array, source):
        array[...] = source.ravel(order="K").reshape(source.shape)


class Flushing(ReferenceBackend):
    name = "flushing"

    def copy_from_numpy(self, array, source):
        array[...] = np.nan_to_num(source)


class Padded(ReferenceBackend):
    """Its slices are copies."""

    name = "padded"

    def __init__(self):
        self.xp = namespace(reshape=lambda x, shape: np.reshape(x, shape).copy())


@pytest.mark.parametrize(
    ("backend", "check"),
    [
        (Lacking, lambda suite: suite.test_namespace_is_complete()),
        (Narrow, lambda suite: suite.test_round_trip((3, 5), "uint64")),
        (WideSum, lambda suite: suite.test_namespace("sum", "float32")),
        (WrongAxis, lambda suite: suite.test_namespace("argmax", "float32")),
        (HidesNaN, lambda suite: suite.test_namespace("maximum", "float64")),
        (Impure, lambda suite: suite.test_operands_are_left_alone("float64")),
        (View, lambda suite: suite.test_what_comes_to_the_host_is_a_copy((3, 5), "float32")),
        (Uncast, lambda suite: suite.test_copying_casts("float32")),
        (Memory, lambda suite: suite.test_copying_takes_arrays_of_any_layout("float64")),
        (Flushing, lambda suite: suite.test_extreme_values("float32")),
        (Padded, lambda suite: suite.test_slices_of_an_arena_share_its_memory("float32")),
    ],
)
def test_arrays(backend, check):
    check(suite_of(ReferenceBackend))
    with pytest.raises((Exception, pytest.fail.Exception)):
        check(suite_of(backend))


class FaultyProgram(Program):
    """Runs, but for its backend's fault."""

    def iterate(self, n, schedule, stop=None):
        fault = self.backend.fault
        if fault == "rows":
            schedule = {name: column for name, column in schedule.items() if name != "valid_rows"}
            schedule |= {"valid_rows": np.full(n * self.plan.minibatches, self.plan.batch)}
        if fault == "schedule":
            schedule = {name: np.repeat(column[:1], len(column), axis=0) for name, column in schedule.items()}
        if fault == "pack":
            self._packed_version = self.storage.version
        if fault == "noise":
            self.storage.version += 1
            for bound in self.bound:
                for value in bound.step.writes:
                    if value.role == "parameter":
                        self.memory.buffers[value][...] *= 1 + 1e-6 * np.random.default_rng().random()
        done = super().iterate(n, schedule, stop)
        if fault == "twice" and self.plan.minibatches == 1:
            for run in self.runs("update"):
                run()
        return done


def faulty(kind):
    class Faulty(ReferenceBackend):
        name = "faulty"
        fault = kind

        def executor(self, *arguments):
            return FaultyProgram(self, *arguments)

    return Faulty


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("rows", lambda suite: suite.test_parity("validating", "float64")),
        ("schedule", lambda suite: suite.test_parity("training", "float64")),
        ("twice", lambda suite: suite.test_parity("taking turns", "float64")),
        ("noise", lambda suite: suite.test_same_seed_same_bytes("training", "float64")),
        ("noise", lambda suite: suite.test_resuming_is_exact("float64")),
    ],
)
def test_programs(fault, check):
    check(suite_of(faulty("")))
    with pytest.raises(AssertionError):
        check(suite_of(faulty(fault)))


class Closed(ReferenceBackend):
    """Takes the next one with it when it is closed."""

    name = "closed"
    gone = False

    def close(self):
        Closed.gone = True

    def empty(self, shape, dtype):
        if Closed.gone:
            raise RuntimeError("the device is gone")
        return super().empty(shape, dtype)


def test_a_device_that_does_not_come_back():
    suite_of(ReferenceBackend).test_closing()
    with pytest.raises(RuntimeError, match="the device is gone"):
        suite_of(Closed).test_closing()


def test_which_backend_has_to_be_said():
    with pytest.raises(ConfigurationError, match="backend = 'cpu'"):

        class TestNothing(BackendTests):
            pass


@pytest.mark.parametrize("given", ["reference", ReferenceBackend(), ReferenceBackend, lambda: ReferenceBackend()])
def test_a_backend_by_name_as_an_object_and_by_a_function(given):
    suite_of(given).test_name()
    suite_of(given).test_parity("training", "float32")
