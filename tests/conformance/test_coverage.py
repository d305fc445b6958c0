"""Nothing that the distributions of the tree register is left out of the kit's tests."""

import importlib.util
from pathlib import Path

import pytest

from mocha_core.compile.selection import ANY
from mocha_core.describe.layer import DataLayer, Layer
from mocha_core.graph.op import Op
from mocha_core.plugin.manager import registries
from mocha_core.testing import (
    CoffeeBreakTests,
    FormatTests,
    LayerTests,
    OpTests,
    PluginTests,
    SolverTests,
    standard_layers,
)
from mocha_core.testing.backend_tests import BackendTests
from mocha_core.testing.inputs import filled
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.plugin_tests import STRUCTURAL
from mocha_core.train.solver import Solver

OURS = {"mocha-layers-std", "mocha-solvers-std", "mocha-cpu", "mocha-native", "mocha-hdf5", "mocha-datasets"}


@pytest.fixture(scope="module")
def suites():
    """The test classes of this folder."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"suite_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        if path != Path(__file__):
            spec.loader.exec_module(module)
        found += [thing for name, thing in vars(module).items() if name.startswith("Test") and isinstance(thing, type)]
    return found


def registered(kind):
    return {entry.name: entry for entry in registries().all()[kind] if entry.plugin in OURS}


def of(suites, kind):
    return [suite for suite in suites if issubclass(suite, kind)]


def has_reference(op):
    """Ops that only fusions make have none; the tests of their backends compare them with what they replace."""
    return op.load().forward is not Op.forward


def test_every_layer(suites):
    tested = {type(layer) for suite in of(suites, LayerTests) for layer, _ in suite.cases.values()}
    layers = {e.load() for e in registered("layers").values() if isinstance(e.load(), type)}
    layers = {layer for layer in layers if issubclass(layer, Layer) and not issubclass(layer, DataLayer)}
    assert layers <= tested


def test_every_op(suites):
    tested = {case.op.name for suite in of(suites, OpTests) for case in suite.cases.values()}
    assert {name for name, entry in registered("ops").items() if has_reference(entry)} <= tested


def test_every_kernel_is_for_an_op_that_is_tested():
    served = {e.name.partition("/")[0] for e in registered("kernels").values()}
    assert served <= set(registered("ops")) | STRUCTURAL | {ANY}


def test_every_solver(suites):
    tested = {suite.solver for suite in of(suites, SolverTests)}
    solvers = {e.load() for e in registered("solvers").values() if isinstance(e.load(), type)}
    assert {solver for solver in solvers if issubclass(solver, Solver)} <= tested


def test_every_backend(suites):
    assert set(registered("backends")) <= {suite.backend for suite in of(suites, BackendTests)}


def test_every_coffee_break(suites):
    tested = {suite.kind for suite in of(suites, CoffeeBreakTests)}
    assert {entry.load() for entry in registered("coffee").values()} <= tested


def test_every_format(suites):
    assert set(registered("formats")) == {suite.ending for suite in of(suites, FormatTests)}


def test_every_distribution(suites):
    assert {suite.distribution for suite in of(suites, PluginTests)} == OURS


def test_backends_are_compared_on_every_layer_and_op():
    """The kit's table has a case for each standard layer, and the cases use each of the ops."""
    kinds, ops = set(), set()
    for make, bottoms in standard_layers.CASES.values():
        case = LayerCase(make(), [filled(bottom, i) for i, bottom in enumerate(bottoms)])
        kinds.add(type(case.layer))
        with case.trial() as trial:
            ops |= {step.call.op.name for step in trial.net.plan.steps}
    entries = [e for e in registered("layers").values() if e.plugin == "mocha-layers-std"]
    layers = {e.load() for e in entries if isinstance(e.load(), type) and issubclass(e.load(), Layer)}
    assert {layer for layer in layers if not issubclass(layer, DataLayer)} == kinds
    ops.add("labels")  # those of the cases are whole numbers already
    assert {n for n, e in registered("ops").items() if e.plugin == "mocha-layers-std" and has_reference(e)} <= ops
