"""How many threads run a program: the faster way, however long iterations take, and whatever other processes do."""

import pytest
from mocha_native._native import ffi, lib

WORTH = 3e-4


class Machine:
    """Runs a program of iterations that take a given time in one thread and in several, which may change.

    Attributes:
        now: seconds since the beginning.
        ran: seconds of work in one thread and in several.
    """

    def __init__(self, worth=WORTH):
        self.pace = ffi.new("mocha_pace *", {"worth": worth})
        self.now = 0.0
        self.ran = [0.0, 0.0]

    def work(self, seconds, taken, longest=0.02, threads=2):
        """For so many seconds; `taken(several, now)` is the time of an iteration. Returns how many were done."""
        end, total = self.now + seconds, 0
        while self.now < end:
            limit, start, done = lib.mocha_choose(self.pace, longest), self.now, 0
            several = int(self.pace.several and threads > 1)
            while not done or self.now < start + limit:
                self.now += taken(several, self.now)
                done += 1
            lib.mocha_note(self.pace, 1 + several, done, self.now - start)
            self.ran[several] += self.now - start
            total += done
        return total

    def share(self):
        """The part of the work that several threads did since the last call."""
        ran, self.ran = self.ran, [0.0, 0.0]
        return ran[1] / sum(ran)


def fixed(one, several):
    return lambda way, now: several if way else one


def sliced(one, free, held, period=6e-3):
    """Several threads are fast for half of each period, and wait for a processor in the other one."""
    return lambda way, now: (free if now % period < period / 2 else held) if way else one


@pytest.mark.parametrize("one", [5e-4, 5e-3, 0.2])
@pytest.mark.parametrize(("factor", "several"), [(0.5, 1), (0.85, 1), (0.98, 0), (1.5, 0), (20, 0)])
def test_the_faster_way_runs_nearly_always(one, factor, several):
    machine, probe = Machine(), max(0.01, one, factor * one)
    machine.work(300 * probe, fixed(one, factor * one))
    machine.share()
    machine.work(300 * probe, fixed(one, factor * one))
    assert abs(machine.share() - several) < 0.05


@pytest.mark.parametrize("one", [5e-4, 5e-3])
def test_two_threads_that_wait_for_a_processor_lose_little(one):
    """Beside a busy process: fast for 3 ms, and held up for the next 3 ms."""
    machine, seconds = Machine(), 20
    done = machine.work(seconds, sliced(one, one / 2, 3e-3 + one))
    assert done > 0.96 * seconds / one


def test_a_process_that_comes_and_goes():
    machine, quiet, busy = Machine(), fixed(1e-3, 6e-4), fixed(1e-3, 3e-3)
    for _ in range(3):
        machine.work(0.5, quiet)
        machine.share()
        machine.work(5, quiet)
        assert machine.share() > 0.95
        machine.work(0.2, busy)
        machine.share()
        machine.work(5, busy)
        assert machine.share() < 0.05
        machine.work(3, quiet)


def test_a_short_disturbance_costs_little():
    machine, quiet = Machine(), fixed(1e-3, 6e-4)
    machine.work(5, quiet)
    for _ in range(5):
        machine.work(0.03, fixed(1e-3, 1e-2))
        machine.share()
        machine.work(5, quiet)
        assert machine.share() > 0.95


def test_an_iteration_of_less_than_the_worth_runs_in_one_thread():
    machine = Machine()
    machine.work(3, fixed(2e-4, 1e-4))
    assert machine.share() == 0


def test_without_a_worth_all_threads_run_always():
    machine = Machine(0.0)
    machine.work(1, fixed(1e-3, 1e-2))
    assert machine.share() == 1


def test_where_there_are_no_other_threads_one_runs():
    machine = Machine()
    machine.work(1, fixed(1e-3, 1e-9), threads=1)
    assert machine.share() == 0


def test_iterations_in_pieces_count_as_a_whole():
    """Steps in Python are between the pieces."""
    pace = ffi.new("mocha_pace *", {"worth": WORTH})
    for _ in range(200):
        lib.mocha_choose(pace, 1.0)
        for done in (0, 0, 1):
            lib.mocha_note(pace, 1 + pace.several, done, 4e-4 if pace.several else 1e-3)
    assert pace.best
    assert pace.taken[1] / pace.iterations[1] == pytest.approx(1.2e-3)
