"""Steps between backward and the updates: they run once per iteration, also after a fault; no update passes them."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.exchange import Exchanging
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import assert_equal, contents, parameters, train
from toys.plugin import Folding
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import DataError, TopologyError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Section


@dataclass
class Group:
    """Ranks that meet once per iteration; a test that would hang breaks the barrier instead."""

    size: int
    barrier: threading.Barrier = field(init=False)
    given: dict = field(default_factory=dict)
    meetings: int = 0

    def __post_init__(self):
        self.barrier = threading.Barrier(self.size, self.count, timeout=30)

    def count(self):
        self.meetings += 1

    def gather(self, rank, value):
        """What all ranks gave, in their order."""
        self.given[rank] = value
        self.barrier.wait()
        all_given = [self.given[i] for i in range(self.size)]
        self.barrier.wait()
        return all_given


def averages(group):
    """What each rank's exchange does: it averages the gradients over ranks. A rank is a thread, named by its number."""

    def begin():
        rank = int(threading.current_thread().name)

        def share(gradients, status):
            given = group.gather(rank, [*gradients, status])
            means = [sum(arrays[i] for arrays in given) / group.size for i in range(len(gradients))]
            return means, any(arrays[-1] for arrays in given)

        return share

    return begin


def body():
    return [
        InnerProductLayer(name="h", output_dim=5, bottoms=["data"], tops=["h"]),
        InnerProductLayer(name="scores", output_dim=3, bottoms=["h"], tops=["scores"]),
        SoftmaxLossLayer(name="loss", bottoms=["scores", "label"]),
    ]


def source(images, labels, batch):
    return MemoryLayer(name="data", batch_size=batch, arrays=(images, labels), tops=("data", "label"))


def ranks_train(backend, register, data, batch, **options):
    """What each of the ranks, one for each pair of arrays, ends with: its iterations, its parameters, its error."""
    group = Group(len(data))
    register(Exchanging(averages(group)), "mocha-parallel")
    ends = {}

    def run(rank):
        with mocha.System(BACKENDS[backend](), dtype="float64", seed=3) as system:
            net = mocha.Net("net", system, [source(*data[rank], batch), *body()])
            solver, error = SGD(parameters(**options)), None
            try:
                solver.solve(net)
            except Exception as caught:
                error = caught
            ends[rank] = solver.state.iteration, contents(net), error, net.runs.half_updated

    threads = [threading.Thread(target=run, args=(rank,), name=str(rank)) for rank in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return group, [ends[rank] for rank in range(len(data))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_are_one_that_has_the_rows_of_both(backend, accumulate, register):
    images, labels, _ = nets.rows(12)
    both = [source(images, labels, 12), *body()]
    expected = train(BACKENDS[backend](), both, accumulate=accumulate)
    expected.pop("objective")
    halves = [(images[:6], labels[:6]), (images[6:], labels[6:])]
    group, ends = ranks_train(backend, register, halves, 6, accumulate=accumulate)
    assert group.meetings == 2 * 7, "twice per iteration: to give, and to take"
    for iterations, seen, error, _ in ends:
        assert (iterations, error) == (7, None)
        assert_equal(seen, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fault_of_one_rank_ends_all_ranks_in_the_same_iteration(backend, accumulate, register):
    images, labels, _ = nets.rows(24)
    bad = np.array(labels[12:])
    bad[9] = 7  # in the minibatch with number 3
    data = [(images[:12], labels[:12]), (images[12:], bad)]
    _, ends = ranks_train(backend, register, data, 3, accumulate=accumulate)
    assert [iterations for iterations, *_ in ends] == [3 // accumulate] * 2
    assert not any(half_updated for *_, half_updated in ends)
    assert_equal(ends[0][1], ends[1][1])
    messages = [str(error) for _, _, error, _ in ends]
    assert all(isinstance(error, DataError) for _, _, error, _ in ends), messages
    assert "another process has a fault" in messages[0]
    assert "expected labels 0 to 2, received 7" in messages[1]


class Scaled(Op):
    """A gradient times a factor."""

    name = "toy.scaled"
    differentiable = ()
    updates = (0,)
    factor: float

    def infer(self, x):
        return ()

    def forward(self, xp, x):
        return x * self.factor


class Halving(SGD):
    """Halves the gradients of some layers."""

    layers = ("x", "y")

    def exchange(self, b, parameters):
        for parameter in parameters:
            if parameter.layer in self.layers:
                b.exchange(Scaled(0.5), b.gradient(parameter))


class HalvingOne(Halving):
    layers = ("y",)


def chain():
    dense = [
        InnerProductLayer(name=top, output_dim=3, bottoms=[bottom], tops=[top])
        for bottom, top in (("data", "x"), ("x", "y"))
    ]
    return [nets.data(), *dense, SquareLossLayer(name="loss", bottoms=["y", "target"])]


def run(backend, solver_class, **options):
    with mocha.System(backend, dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, chain())
        solver = solver_class(parameters(**options))
        solver.solve(net)
        return net.runs.training_program(solver), contents(net)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_solver_changes_gradients_before_the_updates(backend):
    """All gradients halved are half the learning rate."""
    _, seen = run(BACKENDS[backend](), Halving, regu_coef=0.0, lr_policy=0.1)
    assert_equal(seen, run(BACKENDS[backend](), SGD, regu_coef=0.0, lr_policy=0.05)[1])


@pytest.mark.parametrize("solver_class", [Halving, HalvingOne])
def test_no_update_is_folded_where_there_is_an_exchange(solver_class, register):
    """Not even into a gradient that no exchange step reads: the status that the others merge comes later."""
    register(Folding(), "mocha-folding")
    program, seen = run(Blocked(), solver_class)
    assert "toy.dot+sgd" not in {use.op for use in program.kernels()}
    assert_equal(seen, run(BACKENDS["plain"](), solver_class)[1])
    assert "toy.dot+sgd" in {use.op for use in run(Blocked(), SGD)[0].kernels()}


class Late(SGD):
    def record(self, b, parameters):
        super().record(b, parameters)
        b.exchange(Scaled(0.5), b.gradient(parameters[0]))


def test_an_exchange_step_after_an_update_is_refused():
    with pytest.raises(TopologyError, match=r"'toy.scaled' was recorded after an update. .*mocha_record_exchange"):
        run(BACKENDS["plain"](), Late)


def test_exchange_steps_stand_between_backward_and_the_updates():
    program, _ = run(BACKENDS["plain"](), Halving, accumulate=2)
    sections = [bound.step.section for bound in program.bound]
    assert sections == sorted(sections, key=list(Section).index)
    assert sections.count(Section.EXCHANGE) == sections.count(Section.UPDATE) == 4
