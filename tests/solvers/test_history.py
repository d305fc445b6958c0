"""history.jsonl: a line per event, cut off where a run goes on."""

import errno
import json
import math
import os
import time
from pathlib import Path

import numpy as np
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


def test_what_json_lacks_does_not_end_a_run(path):
    """Programs publish what they have."""
    history, nan = History(path, 0), math.nan
    facts = {"norm": np.float32(2), "sizes": np.arange(3), "losses": [1.0, nan], "at": Path("x"), "by": {3: (nan,)}}
    history.write({"event": "mine", "iteration": 4, **facts})
    history.close()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert {name: line[name] for name in facts} == {
        "norm": 2.0, "sizes": [0, 1, 2], "losses": [1.0, None], "at": "x", "by": {"3": [None]}
    }  # fmt: skip
    assert iterations(path) == [4]


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
    written.write_text("".join([lines[0], "[]\n", '{"iteration": "x"}\n', "\n", *lines[1:], "torn" + lines[2]]))
    History(written, 6).close()
    assert iterations(written) == [2, 4, 6]
    assert messages() == [f"'{written}', line {n} is incomplete and is dropped." for n in (2, 3, 4, 7)]


def test_a_line_behind_the_rest_of_another_is_no_event(written, messages):
    """Also where all other lines of a block stay."""
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join(["torn" + lines[0], *lines[1:]]))
    History(written, 6).close()
    assert iterations(written) == [4, 6]
    assert messages() == [f"'{written}', line 1 is incomplete and is dropped."]


def test_a_history_that_cannot_be_used(path):
    path.mkdir()
    with pytest.raises(FileError, match=r"history.jsonl' cannot be read or written: .* use another folder"):
        History(path, 0)


def test_lines_that_break_json_are_named_and_dropped(written, messages):
    with open(written, "ab") as file:
        file.write(
            b"[" * 100_000 + b"\n" + b'{"iteration": ' + b"9" * 5_000 + b"}\n" + b'{"iteration": true}\n\x00\xff\n'
        )
    History(written, 6).close()
    assert iterations(written) == [2, 4, 6]
    assert messages() == [f"'{written}', line {n} is incomplete and is dropped." for n in (4, 5, 6, 7)]


@pytest.mark.parametrize("taken", [0, 1, 20])
@pytest.mark.parametrize("tidies", [True, False])
def test_a_line_that_is_half_written_is_taken_back_and_written_later(path, monkeypatch, taken, tidies):
    """The system takes some bytes and has no space for more; then it does not even let the file be cut."""
    history, event = History(path, 0), {"event": "x", "iteration": 1}
    history.write(event)
    before = path.read_bytes()
    write, left = os.write, [taken, None]

    def full(descriptor, data):
        if (free := left.pop(0) if left else None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:free]) if free else full(descriptor, data)

    def refuse(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        if not tidies:
            patch.setattr(os, "ftruncate", refuse)
        for iteration in (2, 3):
            with pytest.raises(FileError, match=r"history.jsonl' cannot be read or written: .*(No space|Input)"):
                history.write(event | {"iteration": iteration})
            assert path.read_bytes()[: len(before)] == before
            assert len(path.read_bytes()) == len(before) + (0 if tidies else taken)
    history.write(event | {"iteration": 4})
    history.close()
    assert iterations(path) == [1, 2, 3, 4]


def test_a_full_disk_does_not_keep_a_run_from_going_on(written, monkeypatch):
    monkeypatch.setattr(os, "write", lambda *arguments: 1 / 0)
    History(written, 4).close()
    assert iterations(written) == [2, 4]


@pytest.mark.parametrize("iteration", [0, 2500, 5000])
def test_a_long_history_is_cut_where_a_short_one_is(path, iteration, messages):
    """Of several blocks, the last of which is torn, with a stranger's lines and one out of order among ours."""
    odd = {1000: '{"iteration": 7, "by": "hand"}\n', 3000: "{}\n", 3001: '{"event": "x", "iteration": 9, "time": 1}\n'}
    lines = [
        odd.get(i, f'{{"event": "training", "iteration": {i}, "time": 1.5, "x": "{"-" * 500}"}}\n') for i in range(6000)
    ]
    path.write_text("".join(lines) + '{"event": "tr')
    History(path, iteration).close()
    numbers = {1000: 7, 3001: 9}
    kept = [line for i, line in enumerate(lines) if i != 3000 and 0 < iteration >= numbers.get(i, i)]
    assert path.read_text() == "".join(kept)
    dropped = 5999 - len(kept)
    expected = [f"'{path}', line {n} is incomplete and is dropped." for n in (3001, 6001)]
    assert messages() == [*expected, f"Dropping {dropped} events after iteration {iteration} from {path}"]


def test_rewriting_that_fails_leaves_the_history_as_it_was(written, monkeypatch):
    written.write_text("torn\n" + written.read_text())
    before = written.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FileError, match=r"history.jsonl' \(\d+ bytes\) cannot be written: No space left on device"):
        History(written, 4)
    assert written.read_bytes() == before
    assert os.listdir(written.parent) == ["history.jsonl"]
