"""One bit of a snapshot turned over, anywhere: it is refused, and the run goes on from the one before."""

import logging
import random
import runpy
from pathlib import Path

import h5py
import numpy as np
import pytest

from mocha_core.errors import SnapshotError
from mocha_core.train.formats import format_of

train = runpy.run_path(str(Path(__file__).with_name("small_run.py")))["train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, 3)
    return folder


def regions(path):
    """The byte positions of a snapshot by what they hold."""
    content = path.read_bytes()
    digest = content.index(b"sha256 ") + len(b"sha256 ")
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        found = []
        file.visititems(lambda name, item: found.append(item.id) if isinstance(item, h5py.Dataset) else None)
        stored = [(d.get_offset(), d.get_storage_size()) for d in found if d.get_offset() is not None]
    # The offsets of h5py count from the beginning of the file.
    data = {at for offset, size in stored for at in range(offset, offset + size)}
    metadata = set(range(512, len(content))) - data
    return {
        "name of the seal": range(digest),
        "digest": range(digest, digest + 64),
        "padding of the seal": range(digest + 64, 512),
        "HDF5 metadata": sorted(metadata),
        "data": sorted(data),
    }


def flip(content, trial, where):
    chance = random.Random(trial)
    flipped = bytearray(content)
    flipped[chance.choice(where)] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def test_the_regions_are_what_they_are_said_to_be(folder):
    path = folder / "snapshot-000003.hdf5"
    found = regions(path)
    content = path.read_bytes()
    assert sorted(at for where in found.values() for at in where) == list(range(len(content)))
    with format_of(path).open_snapshot(path) as snapshot:
        for array in (*snapshot.parameters.values(), *snapshot.slots.values()):
            at = content.index(np.asarray(array).tobytes())
            assert set(range(at, at + np.asarray(array).nbytes)) <= set(found["data"])


def test_every_flip_is_refused(folder, tmp_path, trials, report):
    content = (folder / "snapshot-000003.hdf5").read_bytes()
    kinds, path = regions(folder / "snapshot-000003.hdf5"), tmp_path / "flipped.hdf5"
    refused = dict.fromkeys(kinds, 0)
    for trial in range(count := trials(10_000)):
        kind = list(kinds)[trial % len(kinds)]
        path.write_bytes(flip(content, trial, kinds[kind]))
        try:
            with format_of(path).open_snapshot(path):
                error = None
        except SnapshotError as caught:
            error = caught
        assert str(path) in str(error), f"trial {trial}: a flip in the {kind}"
        refused[kind] += 1
    path.write_bytes(content)
    with format_of(path).open_snapshot(path):  # so that it is the flips that are refused
        pass
    report("single-bit flips in a snapshot", count, f"all refused: {', '.join(f'{refused[k]:,} {k}' for k in kinds)}")


def test_a_resume_falls_back_to_the_one_before_and_says_so(folder, tmp_path, trials, report, caplog):
    caplog.set_level(logging.INFO, "mocha")
    content = {path.name: path.read_bytes() for path in folder.glob("[hms]*")}
    kinds = regions(folder / "snapshot-000003.hdf5")
    for trial in range(count := trials(300)):
        for name, data in content.items():
            (tmp_path / name).write_bytes(data)
        newest = tmp_path / "snapshot-000003.hdf5"
        newest.write_bytes(flip(content[newest.name], trial, kinds[list(kinds)[trial % len(kinds)]]))
        caplog.clear()
        parameters, iteration = train(tmp_path, 1)
        assert iteration == 2, f"trial {trial}"
        assert all(parameter in content["snapshot-000002.hdf5"] for parameter in parameters.values()), f"trial {trial}"
        named = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(named) == 1, f"trial {trial}: {named}"
        assert named[0].startswith(f"Skipping snapshot-000003.hdf5: '{newest}' is "), f"trial {trial}"
        train(tmp_path, 3)
        assert newest.read_bytes() == content[newest.name], f"trial {trial}"
    report("resumes after a bit flip", count, "all from the snapshot before, and said so")
