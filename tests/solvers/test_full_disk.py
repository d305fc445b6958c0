"""Snapshot(on_error=...): what a run does if its folder cannot be written."""

import errno
import gc
import os

import pytest
from run_folders import everything, iterations, listed

from mocha_core.coffee import Snapshot
from mocha_core.errors import ConfigurationError, FileError


def break_call(monkeypatch, call, where, times=10**9):
    """Makes calls of `os` that concern files of that name fail, as on a full disk."""
    real, opened, failures = {name: getattr(os, name) for name in ("open", call)}, {}, []

    def note(path, *arguments, **options):
        descriptor = real["open"](path, *arguments, **options)
        opened[descriptor] = str(path)
        return descriptor

    def refuse(target, *arguments, **options):
        path = opened.get(target, "") if isinstance(target, int) else str(target)
        if where in path and len(failures) < times:
            failures.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real[call](target, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(os, call, refuse)
    return failures


def test_training_goes_on_with_a_warning_and_tries_again(train, folder, monkeypatch, messages):
    failures = break_call(monkeypatch, "replace", "snapshot-000004")
    _, solver = train(6)
    assert len(failures) == 1
    assert solver.state.iteration == 6
    assert sorted(os.listdir(folder)) == everything(2, 6)
    (warning,) = (line for line in messages() if "not be saved" in line)
    assert warning.startswith(f"Iteration 4 could not be saved: '{folder / 'snapshot-000004.hdf5'}'")
    assert "cannot be written" in warning
    assert "No space left on device" in warning
    assert warning.endswith("The newest is that of iteration 2.")
    assert listed(folder) == [2, 6]


def test_training_stops_by_choice(train, folder, monkeypatch):
    break_call(monkeypatch, "replace", "snapshot-000004")
    with pytest.raises(FileError, match=r"snapshot-000004.hdf5'.* cannot be written: .*No space left"):
        train(6, on_error="stop")
    assert sorted(os.listdir(folder)) == everything(2)
    monkeypatch.undo()
    assert train(6, on_error="stop")[1].state.iteration == 6


def test_an_error_that_is_kept_in_a_cycle_is_collected_in_silence(train, folder, monkeypatch):
    break_call(monkeypatch, "write", "snapshot-000004")
    with pytest.raises(FileError) as caught:
        train(6, on_error="stop")
    caught.value.itself = caught.value
    del caught
    gc.collect()  # what cannot be closed would be an error here


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_manifest_that_cannot_be_written(train, folder, monkeypatch, messages, call):
    train(2)
    break_call(monkeypatch, call, ".manifest.json", times=2)
    with pytest.raises(FileError, match=r"manifest.json' \([\d,]+ bytes\) cannot be written: No space left on"):
        train(4)  # better now than after hours
    monkeypatch.undo()

    class Late(Snapshot):
        def init(self, solver, net):
            super().init(solver, net)
            break_call(monkeypatch, call, ".manifest.json", times=1)

    messages()
    train(6, kind=Late, keep=1)
    (warning,) = (line for line in messages() if "not listed" in line)
    assert warning.startswith("Iteration 4 is saved, but not listed: ")
    assert "manifest.json" in warning
    assert warning.endswith("The newest is that of iteration 4.")
    assert sorted(os.listdir(folder)) == everything(6)
    assert listed(folder) == [6]


def test_events_wait_until_there_is_space(train, folder, monkeypatch, messages):
    failures = break_call(monkeypatch, "write", "history.jsonl", times=3)
    train(6)
    assert len(failures) == 3
    (warning,) = (line for line in messages() if "waits" in line)
    assert warning.startswith(f"An event waits to be written: '{folder / 'history.jsonl'}' cannot be read or wr")
    assert iterations(folder) == [1, 2, 3, 4, 5, 6]


def test_events_that_never_find_space_do_not_stop_the_training(train, folder, monkeypatch, messages):
    break_call(monkeypatch, "write", "history.jsonl")
    assert train(4)[1].state.iteration == 4
    assert f"The last events are lost: '{folder / 'history.jsonl'}' cannot be" in messages()[-1]
    assert (folder / "history.jsonl").read_bytes() == b""
    monkeypatch.undo()
    train(6)

    assert iterations(folder) == [5, 6]


def test_events_stop_the_training_by_choice(train, folder, monkeypatch):
    break_call(monkeypatch, "write", "history.jsonl")
    with pytest.raises(FileError, match=r"history.jsonl' cannot be read or written: .*No space left on device"):
        train(4, on_error="stop")
    monkeypatch.undo()
    assert train(4)[1].listeners == []


@pytest.mark.parametrize("on_error", ["", "raise", None, True])
def test_a_choice_is_needed(on_error):
    with pytest.raises(ConfigurationError, match=r"expected on_error to be 'warn' or 'stop', received"):
        Snapshot("snapshots", on_error=on_error)
