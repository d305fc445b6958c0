"""Which programs a net compiles, keeps and drops."""

import gc

import pytest
from toys import nets
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.graph.value import Role
from mocha_core.net import prediction, runs

IMAGES, _, _ = nets.rows()


@pytest.fixture
def compiled(monkeypatch):
    """The batch of each program that is compiled."""
    batches = []
    compile = Plain.compile
    monkeypatch.setattr(Plain, "compile", lambda self, p, s: (batches.append(p.batch), compile(self, p, s))[1])
    return batches


def test_predictions_compile_for_a_few_sizes_only_and_leave_training_programs_alone(system, compiled):
    net = mocha.Net("net", system, [nets.data(), nets.dense(), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    solver = SGD(parameters(max_iter=1))
    solver.solve(net)
    net.forward_epoch()
    compiled.clear()
    for size in (*range(1, 21), *range(20, 0, -1)):
        net.predict(IMAGES[:size], "x")
        net.predict(IMAGES, "x", batch_size=size)
    assert sorted(compiled) == [1, 2, 4, 6, 8, 16]
    compiled.clear()
    solver.parameters = parameters(max_iter=2)
    solver.solve(net)
    net.forward_epoch()
    assert not compiled


def chain(system, n):
    tops = [f"x{i}" for i in range(n)]
    layers = [nets.dense(bottom, top) for bottom, top in zip(["data", *tops], tops, strict=False)]
    return mocha.Net("net", system, [nets.data(), *layers, SquareLossLayer(name="loss", bottoms=[tops[-1], "target"])])


def by_output(net, solvers, i):
    net.predict(IMAGES[: 1 + i % 20], f"x{i}")


def by_frozen_layers(net, solvers, i):
    net.unfreeze()
    net.freeze(f"x{i}")
    net.forward()
    net.backward()


def by_solver(net, solvers, i):
    solver = solvers[i]
    solver.parameters = parameters(max_iter=solver.state.iteration + 1)
    solver.solve(net)


@pytest.mark.parametrize("use", [by_output, by_frozen_layers, by_solver])
def test_what_is_varied_in_turns_is_compiled_once(system, compiled, use):
    net, solvers = chain(system, 30), [SGD(parameters(max_iter=1)) for _ in range(30)]
    for i in range(30):
        use(net, solvers, i)
    assert compiled
    compiled.clear()
    for i in range(30):
        use(net, solvers, i)
    assert not compiled


@pytest.mark.parametrize("use", [by_output, by_frozen_layers])
def test_only_so_many_programs_are_kept(system, monkeypatch, use):
    for module in (runs, prediction):
        monkeypatch.setattr(module, "KEPT_BYTES", 0)
    net = chain(system, 30)
    for i in range(30):
        use(net, [], i)
    assert 1 <= len(net.runs.programs()) <= 30 // 2


def test_programs_end_with_their_solver(system):
    net = mocha.Net("net", system, [nets.data(), nets.dense(), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    for _ in range(3):
        SGD(parameters(max_iter=1)).solve(net)
    net.forward()
    gc.collect()
    slots = [value for value in system.storage._buffers if value.role is Role.SLOT]
    assert [use for use, _ in net.runs.programs()] == ["train"]
    assert not slots


def test_freezing_in_turns_compiles_twice(system, compiled):
    net = mocha.Net("net", system, [nets.data(), nets.dense(top="h"), nets.dense("h"),
                                    SquareLossLayer(name="loss", bottoms=["x", "target"])])  # fmt: skip
    solver = SGD(parameters(max_iter=1))
    compiled.clear()
    for turn in range(6):
        net.unfreeze()
        net.freeze("hx"[turn % 2], "loss")
        solver.parameters = parameters(max_iter=turn + 1)
        solver.solve(net)
    assert len(compiled) == 2
