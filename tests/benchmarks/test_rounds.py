"""Turns, and the gate that discards them, with workers and a clock that are told what to find."""

from types import SimpleNamespace

import pytest
from harness import goals
from harness.contestants import CONTESTANTS
from harness.measure import Results, close, measure
from harness.remote import WorkerError
from harness.rounds import ATTEMPTS, Times, compete
from harness.workloads import workload


class FakeRemote:
    """Answers 1, 2, 3, ..."""

    clock = cpu = processor = 1.0

    def __init__(self):
        self.asked = 0

    def ask(self, *command):
        self.asked += 1
        return float(self.asked)


def gate(*calm):
    """Says of the turns, in order, whether they were calm; of all later ones that they were."""
    answers = iter(calm)
    return SimpleNamespace(begin=lambda: 1.0, calm=lambda *_: next(answers, True))


def test_everybody_has_a_turn_in_each_round():
    remotes = [FakeRemote(), FakeRemote()]
    times = compete(remotes, "W1", 5, 0.1, gate(), show=list)
    assert [t.seconds for t in times] == [[1, 2, 3, 4, 5]] * 2
    assert times[0].median == 3
    assert times[0].processor == [1] * 5
    assert times[0].spread == pytest.approx((1.4, 4.6))


def test_disturbed_turns_are_repeated_and_counted():
    (times,) = compete([FakeRemote()], "W1", 2, 0.1, gate(False, False, True), show=list)
    assert times.seconds == [3, 4]
    assert (times.discarded, times.disturbed) == (2, 0)


def test_a_turn_that_is_always_disturbed_counts_and_is_said_to_be():
    (times,) = compete([FakeRemote()], "W1", 1, 0.1, gate(*[False] * ATTEMPTS), show=list)
    assert times.seconds == [ATTEMPTS]
    assert (times.discarded, times.disturbed) == (ATTEMPTS - 1, 1)


def test_who_fails_has_no_more_turns():
    class Failing(FakeRemote):
        def ask(self, *command):
            if super().ask(*command) == 2:
                raise WorkerError("out of memory")
            return 1.0

    failing, other = compete([Failing(), FakeRemote()], "W1", 4, 0.1, gate(), show=list)
    assert failing.error == "out of memory"
    assert len(failing.seconds) == 1
    assert len(other.seconds) == 4
    assert not other.error


def test_ratio_is_to_the_best_pytorch():
    results = Results(peak=None, workloads=[workload("W1")], threads=[1, 2])
    results.entries = [CONTESTANTS[name] for name in ("native", "cpu", "torch", "torch-compile", "jax")]
    seconds = {"native": 1.0, "cpu": 9.0, "torch": 4.0, "torch-compile": 3.0, "jax": 2.0}
    results.times = {("W1", name, 2): Times([s] * 3) for name, s in seconds.items()}
    ratio = goals.torch_ratio(results, "W1", 2)
    assert (ratio.value, ratio.against) == (3, "torch.compile, 2 thread(s)")
    assert goals.torch_ratio(results, "W1", 1) is None
    assert not ratio.doubtful
    assert "| 3.00x (3.00 to 3.00) | torch.compile, 2 thread(s) | 2.0x | 3.0x |" in goals.show(results)
    results.times["W1", "native", 2].disturbed = 1
    assert "| ? 3.00x" in goals.show(results)


def test_workloads_for_which_there_is_no_time_are_named():
    results = Results(peak=None)
    measure(results, [], [1, 2], [workload("W1")], 3, 0.1, until=float("-inf"))
    assert results.left_out == ["W1, 1, 2 thread(s): the time was over"]


def test_results_that_differ_are_another_net():
    assert close([2.0, 1.0], [2.001, 1.0])
    assert not close([2.0, 1.0], [2.01, 1.0])
    assert not close([2.0], [2.0, 1.0])
