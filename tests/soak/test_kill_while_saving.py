"""SIGKILL at any moment of saving: the next run finds the newest complete snapshot, and a tidy folder."""

import json
import logging
import os
import random
import runpy
import select
import shutil
import signal
import time
from pathlib import Path

import pytest

train = runpy.run_path(str(Path(__file__).with_name("small_run.py")))["train"]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

ITERATIONS = 70
CALLS = ("open", "write", "fsync", "replace", "unlink", "close")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The snapshots of the run that nobody killed, by iteration."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, ITERATIONS)
    return {int(path.stem[9:]): path.read_bytes() for path in folder.glob("snapshot-*")}


def kill_at_call(number, after):
    """Kill this process at the call of `os` with this number."""
    left = [number]

    def counted(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in CALLS:
        setattr(os, name, counted(name))


def killed(folder, trial, **options):
    """Train in a child and kill it; the last iteration whose snapshot it had finished, 0 before the first."""
    chance = random.Random(trial)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.close(reading)
            tell, started = os.write, []

            def before(iteration):
                if iteration and not started:
                    started.append(iteration)
                    tell(writing, b"start\n")
                    if trial % 2:
                        kill_at_call(chance.randrange(1, 60), after=chance.random() < 0.5)

            train(folder, ITERATIONS, before, lambda iteration: tell(writing, f"{iteration}\n".encode()), **options)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        lines = pipe.readline()
        while lines and not lines.endswith(b"start\n"):
            lines = pipe.readline()
        if not trial % 2:
            time.sleep(chance.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
        assert select.select([pipe], [], [], 60)[0], f"trial {trial} hangs"
        finished = [int(line) for line in pipe.read().split()]
    status = os.waitpid(child, 0)[1]
    return max(finished, default=0), os.WIFSIGNALED(status)


def test_every_resume_finds_the_newest_complete_snapshot(tmp_path, trials, report, whole, caplog):
    folder, identities = tmp_path / "run", set()
    reached = runs = kills = resumed = size = 0
    count, trial = trials(1000), 0
    while kills < count:
        trial += 1
        assert trial <= 2 * count, "most children end before they are killed"
        keep = None if runs % 2 else 2
        finished, was_killed = killed(folder, trial, keep=keep)
        kills += was_killed
        finished = max(finished, reached)
        caplog.clear()
        parameters, iteration = train(folder, 1, keep=keep)
        where = f"trial {trial}: {finished} was finished, {iteration} was loaded"
        assert iteration in {max(1, finished), finished + 1}, where
        assert (folder / f"snapshot-{iteration:06d}.hdf5").read_bytes() == whole[iteration], where
        assert all(parameter in whole[iteration] for parameter in parameters.values()), where
        complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert not complaints, f"{where}: {complaints}"
        manifest = json.loads((folder / "manifest.json").read_bytes())
        listed = [entry["name"] for entry in manifest["snapshots"]]
        assert sorted(os.listdir(folder)) == sorted([".lock", "history.jsonl", "manifest.json", *listed]), where
        if keep:  # at most one was not counted when the child was killed, and none is counted until another is saved
            size = (keep if finished > reached else size) + 1
        assert len(listed) <= (size if keep else iteration), where
        events = [json.loads(line)["iteration"] for line in (folder / "history.jsonl").read_text().splitlines()]
        assert events == list(range(1, iteration + 1)), where
        identities.add(manifest["run"]) if finished else identities.clear()
        assert len(identities) <= 1, where
        resumed += finished > 0
        reached = iteration
        if iteration > ITERATIONS - 20:
            shutil.rmtree(folder)
            reached, size, runs = 0, 0, runs + 1
            identities.clear()
    assert resumed > 0.8 * count
    report("SIGKILL while saving", kills, f"{kills} of {kills} resumes from the newest complete snapshot, folder tidy")
