"""The order in which threads come in: many readers, or one that changes something."""

import random
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from time import monotonic, sleep

import numpy as np
import pytest

from mocha_core.compile.gate import Gate
from mocha_core.errors import StateError

#: Seconds after which a thread that should come in is given up.
PATIENCE = 20


class Visitor:
    """A thread that enters, and leaves when it is told to."""

    def __init__(self, enter):
        self.entered, self.leaving = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._visit, args=(enter,), daemon=True)
        self.thread.start()

    def _visit(self, enter):
        with enter():
            self.entered.set()
            self.leaving.wait(PATIENCE)

    def comes_in(self):
        return self.entered.wait(PATIENCE)

    def leave(self):
        self.leaving.set()
        self.thread.join(PATIENCE)


@contextmanager
def waiting(gate, enter, number=1):
    """A visitor that has begun to wait."""
    visitor = Visitor(enter)
    while len(gate._waiting) < number:
        visitor.thread.join(0.001)
    assert not visitor.entered.is_set()
    try:
        yield visitor
    finally:
        visitor.leave()


def test_so_many_compute_at_once_and_no_more():
    gate = Gate(2)
    first, second = Visitor(gate.shared), Visitor(gate.shared)
    assert first.comes_in()
    assert second.comes_in()
    with waiting(gate, gate.shared) as third:
        first.leave()
        assert third.comes_in()
    second.leave()


@pytest.mark.parametrize("one", ["shared", "exclusive"])
def test_a_change_waits_and_is_waited_for(one):
    gate = Gate(4)
    other = {"shared": "exclusive", "exclusive": "shared"}[one]
    first = Visitor(getattr(gate, one))
    assert first.comes_in()
    with waiting(gate, getattr(gate, other)) as second:
        first.leave()
        assert second.comes_in()


def test_a_reader_that_waits_is_not_overtaken_by_one_that_computes_again_and_again():
    gate, first = Gate(1), ExitStack()
    first.enter_context(gate.shared())
    with waiting(gate, gate.shared) as other:
        other.leaving.set()
        first.close()
        end = monotonic() + PATIENCE
        while not other.entered.is_set():
            assert monotonic() < end, "the other is overtaken for ever"
            with gate.shared():
                pass


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_reader_comes_in_although_the_one_that_overtook_it_stays_away(times):
    gate, first = Gate(1), ExitStack()
    first.enter_context(gate.shared())
    with waiting(gate, gate.shared) as other:
        other.leaving.set()
        first.close()
        for _ in range(times):
            with gate.shared():
                pass
        assert other.comes_in()


def test_a_change_is_not_overtaken_by_readers_that_come_later():
    gate = Gate(4)
    reader = Visitor(gate.shared)
    assert reader.comes_in()
    with waiting(gate, gate.exclusive) as writer, waiting(gate, gate.shared, 2) as late:
        reader.leave()
        assert writer.comes_in()
        assert not late.entered.is_set()
        writer.leave()
        assert late.comes_in()


def test_who_is_inside_enters_again():
    gate = Gate(1)
    with gate.shared(), gate.shared():
        pass
    with gate.exclusive(), gate.shared(), gate.exclusive():
        pass
    with gate.exclusive():
        pass
    with gate.shared(), pytest.raises(StateError, match="Change them between runs"), gate.exclusive():
        pass
    with gate.shared(), gate.lending(), pytest.raises(StateError, match="Change them between runs"), gate.exclusive():
        pass
    with gate.exclusive():
        pass


@pytest.mark.parametrize("told", [0, 1])
def test_a_waiting_thread_asks_for_its_turn_and_takes_back_no_other_request_to_stop(told):
    gate, stop = Gate(2), np.zeros(1, np.int32)
    training = ExitStack()
    training.enter_context(gate.exclusive(stop))
    assert not stop[0]
    with waiting(gate, gate.shared) as reader:
        assert stop[0]
        if told:
            stop[0] = 1
        training.close()
        assert reader.comes_in()
        assert bool(stop[0]) == bool(told)


def test_who_waits_for_data_lets_readers_in_but_no_change():
    gate, training = Gate(1), ExitStack()
    training.enter_context(gate.exclusive())
    with waiting(gate, gate.exclusive) as writer:
        with gate.lending():
            reader = Visitor(gate.shared)
            assert reader.comes_in(), "although a writer waits: its data may be what is waited for"
            reader.leave()
            with gate.shared():
                pass
            with gate.exclusive():
                pass
        assert not writer.entered.is_set()
        training.close()
        assert writer.comes_in()


@pytest.mark.parametrize("changes", [False, True])
def test_who_waited_for_data_goes_on_after_the_readers_it_let_in_and_before_a_change(changes):
    gate = Gate(1)
    lending, back = threading.Event(), threading.Event()

    @contextmanager
    def lends():
        with gate.shared():
            with gate.lending():
                lending.set()
                assert back.wait(PATIENCE)
            yield

    first = Visitor(lends)
    assert lending.wait(PATIENCE)
    second = Visitor(gate.shared)
    assert second.comes_in()
    with waiting(gate, gate.exclusive) if changes else nullcontext() as writer:
        back.set()
        first.entered.wait(0.02)
        assert not first.entered.is_set()
        second.leave()
        assert first.comes_in()
        assert writer is None or not writer.entered.is_set()
        first.leave()
        assert writer is None or writer.comes_in()


@pytest.mark.parametrize("at_once", [1, 2])
def test_threads_that_do_all_of_it_at_random_never_wait_for_ever(at_once):
    gate, lock, faults = Gate(at_once), threading.Lock(), []
    inside = {"shared": 0, "exclusive": 0}

    def work(seed):
        draw = random.Random(seed)
        for _ in range(100):
            if draw.random() < 0.2:
                sleep(draw.random() * 2e-3)
            kind = draw.choice(["shared", "shared", "exclusive"])
            with getattr(gate, kind)():
                with lock:
                    inside[kind] += 1
                    alone = inside["exclusive"] == 1 and not inside["shared"]
                    if not alone and (inside["exclusive"] or inside["shared"] > at_once):
                        faults.append(dict(inside))
                if draw.random() < 0.2:
                    sleep(draw.random() * 1e-3)
                with lock:
                    inside[kind] -= 1
                if draw.random() < 0.3:
                    with gate.lending():
                        sleep(draw.random() * 1e-3)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not faults
