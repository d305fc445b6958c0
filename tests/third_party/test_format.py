"""A third party's format of networks and snapshots."""

import numpy as np
import pytest
from lenet import lenet, train

import mocha_core as mocha
from mocha_core import solvers
from mocha_core.api import FileError, capture, format_of, restore
from mocha_core.testing import FormatTests


class TestNPZ(FormatTests):
    ending = ".npz"


def test_lenet_resumes_from_it_exactly(digits, tmp_path):
    path = tmp_path / "snapshot.npz"

    def parameters(max_iter):
        return mocha.SolverParameters(max_iter=max_iter, lr_policy=0.01)

    with mocha.System("cpu", seed=1) as system:
        net = lenet(system, digits)
        _, expected = train(net, 8)
    with mocha.System("cpu", seed=1) as system:
        solver = solvers.SGD(parameters(4))
        solver.solve(net := lenet(system, digits))
        format_of(path).save_snapshot(path, capture(solver, net))
    with mocha.System("cpu", seed=1) as system:
        solver, net = solvers.SGD(parameters(8)), lenet(system, digits)
        with format_of(path).open_snapshot(path) as snapshot:
            restore(snapshot, solver, net)
        solver.solve(net)
        assert {key: state.numpy().tobytes() for key, state in net.states.items()} == {
            key: array.tobytes() for key, array in expected.items()
        }


def test_numpy_reads_it_and_nothing_unpickles(tmp_path):
    path = tmp_path / "net.npz"
    format_of(path).save_network(path, {"ip___weight": np.arange(6.0).reshape(2, 3)})
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["ip___weight"], [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        format_of(path).save_network(path, {"ip___weight": np.array([print], object)})
    with np.load(path) as archive:
        assert archive.files == ["ip___weight"]
    np.savez(path, ip___weight=np.array([print], object), allow_pickle=True)
    with pytest.raises(FileError, match="was not written by Mocha"), format_of(path).open_network(path):
        pass
