"""Several threads in one net, one system, one solver: right answers, or an error that says what to do."""

import os
import queue
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.inner_product import InnerProductLayer
from toys.memory import Arrays, MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.errors import StateError
from mocha_core.graph.op import Op
from mocha_core.train.coffee_break import CoffeeBreak

IMAGES, _, TARGETS = nets.rows()
#: Seconds after which a thread is given up.
PATIENCE = 20


class Parallel(Plain):
    programs_at_once = 4


class Visit(Op):
    """Its input; calls a function each time it runs."""

    name = "toy.visit"
    backward_reads = ()
    visit: object

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        self.visit()
        return xp.asarray(x, copy=True)

    def backward(self, xp, dy, x, y, wanted):
        return dy


class VisitLayer(Layer):
    visit: object = None

    def build(self, b, *bottoms):
        return b.call(Visit(self.visit), *bottoms)


@pytest.fixture
def system():
    with mocha.System(Parallel(), dtype="float64", seed=3) as system:
        yield system


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def dense():
    return InnerProductLayer(name="x", output_dim=3, bottoms=["data"], tops=["x"])


def loss(bottom="x"):
    return SquareLossLayer(name="loss", bottoms=[bottom, "target"])


def visited(system, visit):
    """A net that visits between its inner product and its loss."""
    visiting = VisitLayer(name="visit", bottoms=["x"], tops=["y"], visit=visit)
    return mocha.Net("visited", system, [nets.data(), dense(), visiting, loss("y"), *nets.accuracy("y")])


class Door:
    """Holds the thread that comes to it, while it is closed."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self):
        self.reached.set()
        assert self.open.wait(PATIENCE)

    def close(self):
        self.open.clear()
        self.reached.clear()


def wait_for_waiting(gate):
    """Until a thread waits for its turn."""
    end = time.monotonic() + PATIENCE
    while not gate._waiting:
        assert time.monotonic() < end, "no thread came to the gate"
        time.sleep(0)


def test_predictions_run_at_once(system, pool):
    both = threading.Barrier(2)
    net = visited(system, lambda: both.wait(PATIENCE))
    weight, bias = (net.parameters["x"][n].numpy() for n in ("weight", "bias"))
    answers = [pool.submit(net.predict, IMAGES[i : i + 1], "y") for i in range(2)]
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(answer.result(PATIENCE), IMAGES[i].reshape(1, -1) @ weight.T + bias, rtol=1e-12)
    assert [use for use, _ in net.runs.programs()] == ["predict 'y'"] * 2


@pytest.fixture(params=["plain", "blocked", "deferred"])
def any_system(request):
    """On backends some of which run one program at once."""
    backend = BACKENDS[request.param]()
    backend.programs_at_once = 1 if request.param == "deferred" else 4
    with mocha.System(backend, dtype="float64", seed=3) as system:
        yield system


def test_answers_from_many_threads_are_those_of_one(any_system, pool):
    """Also the first ones, for which programs are compiled."""
    net = mocha.Net("net", any_system, [nets.data(), *nets.body()])
    asked = [(n, output) for n in range(1, 21) for output in ("scores", "side")] * 3
    found = list(pool.map(lambda a: net.predict(IMAGES[: a[0]], a[1]), asked))
    for (n, output), answer in zip(asked, found, strict=True):
        np.testing.assert_array_equal(answer, net.predict(IMAGES[:n], output))


USES = {
    "forward": lambda net: net.forward(),
    "backward": lambda net: net.backward(),
    "forward_epoch": lambda net: net.forward_epoch(),
    "gradient": lambda net: net.gradient("x", "weight"),
    "blob.numpy": lambda net: net.blobs["x"].numpy(),
    "blob.set": lambda net: net.blobs["x"].set(np.zeros((6, 3))),
    "freeze": lambda net: net.freeze("x"),
    "unfreeze": lambda net: net.unfreeze(),
    "statistics": lambda net: net.statistics(),
    "show_statistics": lambda net: net.show_statistics(),
    "reset_statistics": lambda net: net.reset_statistics(),
    "program": lambda net: net.program(),
    "seek": lambda net: net.feeds.first.seek(0),
    "profile": lambda net: net.profile(1),
    "solve": lambda net: SGD(parameters(max_iter=1)).solve(net),
    "destroy": lambda net: net.destroy(),
    "system.close": lambda net: net.system.close(),
}


@pytest.fixture(scope="module")
def busy():
    """A net that trains in another thread, its solver, and a net that is not in use."""
    door = Door()
    with mocha.System(Parallel(), dtype="float64", seed=3) as system, ThreadPoolExecutor(1) as pool:
        net, solver = visited(system, door), SGD(parameters(max_iter=2))
        other = mocha.Net("other", system, [nets.data(), dense(), loss()])
        door.close()
        training = pool.submit(solver.solve, net)
        assert door.reached.wait(PATIENCE)
        yield net, solver, other
        door.open.set()
        training.result(PATIENCE)
        assert solver.state.iteration == 2, "training was not disturbed"
        for one in (net, other):
            one.forward()


@pytest.mark.parametrize("use", sorted(USES))
def test_what_a_second_thread_does_with_a_busy_net_is_refused(busy, use):
    message = r"Net 'visited' is in use by another thread\. .* only call predict\(\).*net\.layers.*threading\.Lock"
    with pytest.raises(StateError, match=message):
        USES[use](busy[0])


def test_a_solver_trains_in_one_thread(busy):
    _, solver, other = busy
    with pytest.raises(StateError, match=r"This SGD trains in another thread.*SGD\(solver\.parameters\)"):
        solver.solve(other)


class EachIteration(CoffeeBreak):
    """Notes what the net would predict."""

    def __init__(self):
        self.predictions = []

    def enjoy(self, solver, net):
        weight, bias = (net.parameters["x"][name].numpy() for name in ("weight", "bias"))
        self.predictions.append(IMAGES.reshape(20, -1) @ weight.T + bias)


def train(net, n):
    solver = SGD(parameters(max_iter=n, lr_policy=0.002))
    solver.solve(net)
    assert len(net.runs.last_program().objectives) == n
    return net.parameters["x"]["weight"].numpy()


def test_predictions_while_the_layers_are_trained_are_those_of_one_iteration(any_system, pool):
    """Also where a backend packs parameters. The training is the same as without them."""
    layers, history = [nets.data(), dense(), loss()], EachIteration()
    net, served = mocha.Net("net", any_system, layers), mocha.Net("served", any_system, layers)
    first, solver = net.states.copy(), SGD(parameters(max_iter=60, lr_policy=0.002))
    solver.add_coffee_break(history, every_n_iter=1)
    solver.solve(net)
    expected = net.parameters["x"]["weight"].numpy()
    net.states.load(first)
    net.feeds.first.seek(0)
    training = pool.submit(train, net, 60)
    seen = [served.predict(IMAGES, "x")]
    end = time.monotonic() + PATIENCE
    while not training.done() and time.monotonic() < end:
        seen.append(served.predict(IMAGES, "x"))
    np.testing.assert_array_equal(training.result(PATIENCE), expected)
    for answer in seen:
        assert min(np.abs(answer - one).max() for one in history.predictions) < 1e-10


def test_a_training_that_is_asked_for_its_parameters_goes_on_where_it_was(system, pool):
    """The turn comes between two iterations, inside of one call of the solver."""
    door, passing = Door(), threading.Event()
    net = visited(system, door)
    expected = mocha.Net("same", system, net.layers)
    first = net.states.copy()
    weights = train(expected, 5)
    net.states.load(first)
    door.close()
    training = pool.submit(train, net, 5)
    assert door.reached.wait(PATIENCE)
    read = pool.submit(lambda: (passing.set(), net.parameters["x"]["weight"].numpy())[1])
    assert passing.wait(PATIENCE)
    wait_for_waiting(system.storage.gate)
    door.open.set()
    found = read.result(PATIENCE)
    np.testing.assert_array_equal(training.result(PATIENCE), weights)
    assert not np.array_equal(found, weights)
    assert not np.array_equal(found, first["x___weight"])


class Asking(Arrays):
    """Rows that another thread makes, which predicts them with the parameters that are being trained."""

    def __init__(self, questions, answers, **options):
        super().__init__([IMAGES, TARGETS], **options)
        self.questions, self.answers = questions, answers

    def fetch(self, rows, epoch, out):
        super().fetch(rows, epoch, out)
        self.questions.put(out[0].copy())
        out[1][...] = self.answers.get(timeout=PATIENCE)


class AskingLayer(MemoryLayer):
    questions: object = None
    answers: object = None

    def open(self, seed):
        return Asking(self.questions, self.answers, prefetch=self.prefetch)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_source_may_wait_for_a_prediction_of_what_is_trained(prefetch, at_once, pool):
    backend = Parallel()
    backend.programs_at_once = at_once
    with mocha.System(backend, dtype="float64", seed=3) as system:
        shared, questions, answers = dense(), queue.Queue(), queue.Queue()
        options = {"questions": questions, "answers": answers, "prefetch": prefetch}
        data = AskingLayer(name="asking", batch_size=6, tops=("data", "target"), **options)
        net = mocha.Net("net", system, [data, shared, loss()])
        policy = mocha.Net("policy", system, [nets.data(), shared])

        def act():
            while (asked := questions.get(timeout=PATIENCE)) is not None:
                answers.put(policy.predict(asked, "x") + 1)

        acting = pool.submit(act)
        try:
            train(net, 5)
        finally:
            net.destroy()
            questions.put(None)
        acting.result(PATIENCE)


def test_closing_a_system_waits_for_predictions(pool):
    door, system = Door(), mocha.System(Parallel(), dtype="float64", seed=3)
    net = visited(system, door)
    expected = net.predict(IMAGES, "y")
    door.close()
    answer = pool.submit(net.predict, IMAGES, "y")
    assert door.reached.wait(PATIENCE)
    closing = pool.submit(system.close)
    wait_for_waiting(system.storage.gate)
    assert not system.closed
    door.open.set()
    np.testing.assert_array_equal(answer.result(PATIENCE), expected)
    closing.result(PATIENCE)
    assert system.closed
    with pytest.raises(StateError, match="closed"):
        net.predict(IMAGES, "y")


def test_nets_of_one_system_that_train_in_threads_learn_what_they_learn_alone(pool):
    seen = []
    for run in (map, pool.map):
        with mocha.System(Parallel(), dtype="float64", seed=3) as system:
            trained = [mocha.Net(f"net{i}", system, [nets.data(), dense(), loss()]) for i in range(4)]
            seen.append(list(run(lambda net: train(net, 20), trained)))
    for alone, together in zip(*seen, strict=True):
        np.testing.assert_array_equal(alone, together)


def test_two_threads_may_train_shared_parameters_in_turns(system, pool):
    shared = dense()
    trained = [mocha.Net(f"net{i}", system, [nets.data(), shared, loss()]) for i in range(2)]
    before = trained[0].forward_epoch()
    list(pool.map(lambda net: train(net, 50), trained))
    assert trained[0].forward_epoch() < before / 2


def in_a_child(work):
    """What a forked process says about some work: "" if it is done, or its StateError."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        signal.alarm(PATIENCE)
        said = "it raised something else"
        try:
            work()
            said = ""
        except StateError as error:
            said = str(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    status = os.waitpid(child, 0)[1]
    with open(reader) as file:
        return file.read() if status == 0 else f"it was killed: {status}"


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
multi_threaded = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@forks
@multi_threaded
def test_a_process_forked_while_another_thread_computes_goes_on(system, pool):
    """The locks of threads that the child does not have do not hold it up."""
    door = Door()
    net = visited(system, door)
    expected = net.predict(IMAGES, "y")
    for run in (lambda: net.predict(IMAGES, "y"), net.forward):
        door.close()
        running = pool.submit(run)
        assert door.reached.wait(PATIENCE)

        def work():
            door.open = threading.Event()  # the parent's thread may hold the lock of this one
            door.open.set()
            np.testing.assert_array_equal(net.predict(IMAGES, "y"), expected)
            other = mocha.Net("other", system, [nets.data(), dense(), loss()])
            train(other, 1)
            net.forward()
            system.close()

        said = in_a_child(work)
        door.open.set()
        running.result(PATIENCE)
        assert said == ""


@forks
@multi_threaded
def test_a_process_forked_while_another_thread_trains_says_what_to_do(busy):
    net = busy[0]
    uses = (lambda: net.predict(IMAGES, "y"), lambda: net.parameters["x"]["weight"].numpy(), lambda: train(busy[2], 1))
    for use in uses:
        assert "was forked while another thread trained" in in_a_child(use)
    assert in_a_child(net.system.close) == ""
