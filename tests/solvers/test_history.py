"""history.jsonl: a line per event, cut off where a run goes on."""

import json
import math
import time

import pytest
from mocha_solvers_std.history import History

from mocha_core.errors import FileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.jsonl"


@pytest.fixture
def written(path):
    history = History(path, 0)
    for iteration in (2, 4, 6):
        history.write({"event": "training", "iteration": iteration, "objective": 1 / iteration})
    history.close()
    return path


def iterations(path):
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()]


def test_a_line_has_the_facts_and_the_time(path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1767225600.12345)
    history = History(path, 0)
    history.write({"event": "training", "iteration": 100, "objective": 0.5, "learning_rate": 0.01})
    history.write({"event": "validation", "iteration": 100, "statistics": {"a-accuracy": 0.96}})
    assert path.read_text().splitlines() == [
        '{"event": "training", "iteration": 100, "time": 1767225600.123, "objective": 0.5, "learning_rate": 0.01}',
        '{"event": "validation", "iteration": 100, "time": 1767225600.123, "statistics": {"a-accuracy": 0.96}}',
    ], "a line must have left the process before the history is closed"
    history.close()


def test_numbers_that_json_lacks_are_null(path):
    history = History(path, 0)
    history.write({"event": "x", "iteration": 1, "objective": math.nan, "statistics": {"a": math.inf, "b": 1}})
    history.close()
    event = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert event["objective"] is None
    assert event["statistics"] == {"a": None, "b": 1}


@pytest.mark.parametrize(("iteration", "kept"), [(0, []), (1, []), (4, [2, 4]), (5, [2, 4]), (9, [2, 4, 6])])
def test_lines_after_the_loaded_iteration_are_dropped(written, iteration, kept, messages):
    history = History(written, iteration)
    assert iterations(written) == kept
    history.write({"event": "training", "iteration": 10})
    history.close()
    assert iterations(written) == [*kept, 10]
    expected = [f"Dropping {3 - len(kept)} events after iteration {iteration} from {written}"]
    assert messages() == (expected if len(kept) < 3 else [])


def test_an_unchanged_history_is_not_rewritten(written):
    inode = written.stat().st_ino
    History(written, 6).close()
    assert written.stat().st_ino == inode


@pytest.mark.parametrize("torn", ['{"event": "training", "iter', '{"event": "training", "iteration": 5}', "\udcff\n"])
def test_a_torn_last_line_is_named_and_dropped(written, torn, messages):
    with open(written, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(torn)
    History(written, 6).close()
    assert iterations(written) == [2, 4, 6]
    assert messages() == [f"'{written}', line 4 is incomplete and is dropped."]


def test_lines_that_are_no_events_are_named_and_dropped(written, messages):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join([lines[0], "[]\n", '{"iteration": "x"}\n', "\n", *lines[1:]]))
    History(written, 6).close()
    assert iterations(written) == [2, 4, 6]
    assert messages() == [f"'{written}', line {n} is incomplete and is dropped." for n in (2, 3, 4)]


def test_a_history_that_cannot_be_used(path):
    path.mkdir()
    with pytest.raises(FileError, match=r"history.jsonl' cannot be read or written: .* use another folder"):
        History(path, 0)
