"""`BackendTests`: the test class for backends. Needs pytest."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest

from mocha_core.describe.layer import Layer
from mocha_core.errors import BackendError, DataError, NonFiniteError, StateError
from mocha_core.net.net import Net
from mocha_core.net.system import System
from mocha_core.testing import sample_net, standard_layers
from mocha_core.testing.backend_arrays import ArrayTests
from mocha_core.testing.backends import ReferenceBackend, open_system
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.layer_checks import check_reference
from mocha_core.testing.sample_runs import (
    WORK,
    Seen,
    assert_same_bytes,
    contents,
    descent,
    gradients,
    lasting,
    net_of,
    run_rows,
    train,
    train_on,
)
from mocha_core.testing.surrounding_layers import Drawn, InputLayer
from mocha_core.testing.tolerances import OF_A_RUN, assert_close
from mocha_core.train.snapshot import capture, restore

#: More elements than any device holds.
TOO_MANY = 2**46


class BackendTests(ArrayTests):
    """Everything a backend has to do. Subclass it as `Test...`, and say which:

        class TestAcme(BackendTests):
            backend = "acme"

    Its arrays and its `xp` are compared with NumPy, and whole nets on it with the kit's reference backend, which
    runs the ops' own references. The nets are made of ops that only the kit has, so that they run on a backend
    without any kernel. Each installed standard layer is tested as well, with the kernels chosen for it.

    Attributes:
        backend: its name, a `Backend`, or a function that makes one (such as the class). All tests use the same
            `Backend`, and close it at their end.
        tolerances: the relative errors allowed in the results of one layer, by dtype; a hundred times as much is
            allowed in training.
        xfail: tests that are known to fail, and why. A backend that cannot know how much memory it has, for
            example, has `{"test_what_does_not_fit_is_refused": "..."}`.
    """

    def arguments(self) -> dict[str, list[Any]]:
        return super().arguments() | {"work": list(WORK), "standard": list(standard_layers.CASES)}

    def system(self, dtype: str = "float64", seed: int = 3) -> System:
        """A system on the backend."""
        return open_system(type(self).backend, dtype=dtype, seed=seed)

    def compare(self, seen: Seen, expected: Mapping[str, Any], dtype: str) -> None:
        """Raise unless the results of two runs are equal, up to rounding."""
        assert seen.keys() == expected.keys()
        for name, array in expected.items():
            assert_close(f"'{name}'", seen[name], array, OF_A_RUN * self.tolerances[dtype])

    # Nets.

    def test_parity(self, work: str, dtype: str) -> None:
        """Every kind of work with a net gives the same results as on the reference backend."""
        with System(ReferenceBackend(), dtype=dtype, seed=3) as system:
            expected = WORK[work](system, descent)
        with self.system(dtype) as system:
            self.compare(WORK[work](system, descent), expected, dtype)

    def test_same_seed_same_bytes(self, work: str, dtype: str) -> None:
        runs = []
        for _ in range(2):
            with self.system(dtype) as system:
                runs.append(WORK[work](system, descent))
        assert_same_bytes(*runs)

    def test_two_systems_at_once(self, dtype: str) -> None:
        with self.system(dtype) as system:
            alone = contents(net := net_of(system), train(net, max_iter=4))
        with self.system(dtype) as one, self.system(dtype, seed=4) as two:
            first, second = net_of(one), net_of(two)
            solver, other = train(first, max_iter=2), train(second, max_iter=2)
            train_on(first, solver, 4)
            train_on(second, other, 4)
            assert_same_bytes(alone, contents(first, solver))
            assert contents(second)["first___weight"].tobytes() != alone["first___weight"].tobytes()

    def test_predictions_from_several_threads(self, dtype: str) -> None:
        """While the layers are trained, too: every answer is that of some iteration."""
        images, asked = sample_net.rows(9, seed=11)[0], [1, 4, 9] * 4
        layers = sample_net.body()
        with self.system(dtype) as system, ThreadPoolExecutor(4) as pool:
            net, served = net_of(system, layers), net_of(system, layers, name="served")
            found = list(pool.map(lambda n: served.predict(images[:n], "scores"), asked))
            expected = {n: served.predict(images[:n], "scores") for n in asked}
            for n, answer in zip(asked, found, strict=True):
                assert_same_bytes({"scores": expected[n]}, {"scores": answer})
            training = pool.submit(train, net, max_iter=10)
            answers = [served.predict(images, "scores")]
            while wait([training], timeout=0.001).not_done:
                answers.append(served.predict(images, "scores"))
            final = contents(net, training.result())
        possible = []
        with self.system(dtype) as system:
            net = net_of(system, layers)
            possible.append(net.predict(images, "scores"))
            solver = descent(max_iter=1)
            for n in range(1, 11):
                train_on(net, solver, n)
                possible.append(net.predict(images, "scores"))
            assert_same_bytes(contents(net, solver), final)
        for answer in answers:
            off = [np.abs(answer - one).max() for one in possible]
            assert_close("an answer during training", answer, possible[int(np.argmin(off))], self.tolerances[dtype])

    def test_a_padded_batch(self, dtype: str) -> None:
        """Rows after the valid ones change nothing, whatever they hold."""
        runs = []
        for filling in (0.0, 100.0):
            images, labels = sample_net.rows(8)
            images[5:] = filling
            with self.system(dtype) as system:
                net = net_of(system, batch=8, arrays=(images, labels))
                runs.append({"(objective)": run_rows(net, 5)} | gradients(net))
        self.compare(runs[1], runs[0], dtype)

    def test_rows_that_may_change_are_seen_as_they_are(self, dtype: str) -> None:
        """This includes the rows of a small data set, which could stay on the device."""
        images, labels = sample_net.rows(8)
        data = InputLayer(name="data", tops=("x", "label"), batch_size=4, arrays=(images, labels), fixed=False)
        with self.system(dtype) as system:
            net = Net("changing", system, [data], keep=["x"])
            for number in (7.0, 8.0):
                images[...] = number
                net.forward()
                assert (net.blobs["x"].numpy() == number).all()
            images[...] = 9.0
            net.forward_epoch()
            assert (net.blobs["x"].numpy() == 9.0).all()

    def test_resuming_is_exact(self, dtype: str) -> None:
        """A run that continues from a snapshot in another system equals the uninterrupted one, bit for bit."""
        with self.system(dtype) as system:
            net = net_of(system)
            solver = train(net, max_iter=3)
            snapshot = capture(solver, net)
            train_on(net, solver, 7)
            expected = contents(net, solver)
        with self.system(dtype) as system:
            net = net_of(system)
            solver = descent(max_iter=7)
            restore(snapshot, solver, net)
            solver.solve(net)
            assert_same_bytes(expected, contents(net, solver))

    def test_a_fault_among_accumulated_minibatches(self, dtype: str) -> None:
        """The second of two minibatches is invalid: the changes of the first are not kept either."""
        images, labels = sample_net.rows(18)
        with self.system(dtype) as system:
            net = net_of(system, batch=3, arrays=(images, labels))
            expected = lasting(net, train(net, max_iter=2, accumulate=2))
        labels[16] = sample_net.CLASSES
        with self.system(dtype) as system:
            net = net_of(system, batch=3, arrays=(images, labels))
            solver = descent(max_iter=9, accumulate=2)
            with pytest.raises(DataError, match="expected labels"):
                solver.solve(net)
            assert_same_bytes(expected, lasting(net, solver))

    def test_an_objective_that_is_not_finite_is_reported(self) -> None:
        """The third minibatch is refused, and changes nothing."""
        images, labels = sample_net.rows(18)
        with self.system() as system:
            net = net_of(system, arrays=(images, labels))
            expected = lasting(net, train(net, max_iter=2))
        images[13] = np.nan
        with self.system() as system:
            net = net_of(system, arrays=(images, labels))
            solver = descent(max_iter=9)
            with pytest.raises(NonFiniteError, match="finite"):
                solver.solve(net)
            assert solver.state.iteration == 2
            assert_same_bytes(expected, lasting(net, solver))

    def test_a_label_out_of_range_is_reported(self, dtype: str) -> None:
        """The last of three minibatches is invalid: the net learns the two before it, and nothing of the last."""
        images, labels = sample_net.rows(18)
        with self.system(dtype) as system:
            net = net_of(system, arrays=(images, labels))
            expected = lasting(net, train(net, max_iter=2))
        labels[15] = sample_net.CLASSES
        with self.system(dtype) as system:
            net = net_of(system, arrays=(images, labels))
            solver = descent(max_iter=9)
            with pytest.raises(
                DataError, match=r"Layer '(side )?loss' in net 'train': expected labels 0 to 2, received"
            ):
                solver.solve(net)
            assert solver.state.iteration == 2
            assert_same_bytes(expected, lasting(net, solver))

    def test_closing(self) -> None:
        system = self.system()
        net = net_of(system)
        train(net)
        system.close()
        system.close()
        for use in (net.forward, lambda: net.parameters["first"]["weight"].numpy(), lambda: net_of(system)):
            with pytest.raises(StateError, match="closed"):
                use()
        with self.system() as again:
            train(net_of(again))

    def test_what_does_not_fit_is_refused(self) -> None:
        """A parameter or a blob that no device can hold is a `BackendError`, and a smaller net runs afterwards."""
        with self.system("float32") as system:
            for layer in (HugeParameter(bottoms=["data"], tops=["huge"]), HugeBlob(bottoms=["data"], tops=["huge"])):
                with pytest.raises(BackendError, match="bytes"):
                    Net("huge", system, [sample_net.data(), layer]).forward()
            assert np.isfinite(train(net_of(system)).state.objective)

    # The standard layers.

    def standard_case(self, standard: str, dtype: str = "float64") -> LayerCase:
        """A standard layer on the backend."""
        layer = standard_layers.make(standard)
        if not isinstance(layer, Layer):
            pytest.skip(layer)
        bottoms = [filled(bottom, 1 + i) for i, bottom in enumerate(standard_layers.CASES[standard][1])]
        return LayerCase(layer, bottoms, type(self).backend, dtype, seed=1, tolerances=self.tolerances)

    def test_standard_layers(self, standard: str, dtype: str) -> None:
        """A standard layer gives the results of the references, in both phases and for all gradients."""
        check_reference(self.standard_case(standard, dtype))

    def test_dropout_drops_what_the_reference_drops(self, dtype: str) -> None:
        case = self.standard_case("dropout", dtype)
        found, expected = case.outcome()["y"], case.outcome(backend="reference")["y"]
        np.testing.assert_array_equal(found != 0, expected != 0)


class HugeParameter(Layer):
    """A layer with a parameter that no device can hold."""

    def build(self, b: Any, x: Any) -> Any:
        b.param("huge", (TOO_MANY,), Drawn(None))
        return (x,)


class Spread(sample_net.Tanh):
    """Repeats each row many times; it is never computed."""

    name = "mocha.testing.spread"

    def infer(self, x: Any) -> Any:
        return (x._replace(shape=(x.shape[0], TOO_MANY)),)


class HugeBlob(Layer):
    """A layer with a blob that no device can hold."""

    def build(self, b: Any, x: Any) -> Any:
        return b.call(Spread(), x)
