"""The examples and the script in the README run, on few data and for few iterations."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mocha_datasets.idx import read_idx

from mocha_core.cli import main as mocha_command

ROOT = Path(__file__).parents[2]
#: Four IDX files, as MNIST and Fashion-MNIST have them.
DIGITS = Path(importlib.util.find_spec("mocha_datasets").origin).parent / "mnist_5k"


def run(folder, *arguments):
    """Run a script of the examples in a folder; return what it prints."""
    command = [sys.executable, "-W", "error", ROOT / "examples" / arguments[0], *map(str, arguments[1:])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with `data/mnist`."""
    folder = tmp_path_factory.mktemp("examples")
    assert mocha_command(["data", "mnist", "--to", str(folder / "data" / "mnist")]) == 0
    return folder


def accuracy(text):
    (percent,) = re.findall(r"^Test accuracy after \d+ iterations: ([\d.]+)%$", text, re.MULTILINE)
    return float(percent)


def test_lenet_learns_resumes_and_draws_its_learning_curve(folder):
    first = run(folder, "mnist/lenet.py", "--iterations", 60, "--threads", 1)
    assert accuracy(first) > 80
    again = run(folder, "mnist/lenet.py", "--iterations", 60)
    assert "Auto-loading from the latest snapshot" in again
    assert "TRAIN" not in again
    assert accuracy(again) == accuracy(first)
    further = run(folder, "mnist/lenet.py", "--iterations", 70)
    assert "000070 :: TRAIN" in further

    run(folder, "learning_curve.py", "snapshots/mnist", "learning-curve.png")
    assert (folder / "learning-curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script", ["mnist/lenet.py", "cifar10/train.py"])
def test_without_data_an_example_says_which_command_brings_it(tmp_path, script):
    command = [sys.executable, ROOT / "examples" / script]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(r"no data in data/\w+; .*: mocha data \w+ .*--to data/\w+", done.stderr)


@pytest.fixture(scope="module")
def binaries(folder):
    """The digits in the form of CIFAR-10."""
    run(folder, "cifar10/fashion_as_cifar.py", DIGITS, "binaries")
    return folder / "binaries"


def test_cifar10_example_trains_on_converted_images(folder, binaries):
    records = np.fromfile(binaries / "data_batch_1.bin", np.uint8).reshape(-1, 3073)
    assert len(records) == 800
    red, green, blue = records[:, 1:].reshape(-1, 3, 32, 32).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert mocha_command(["data", "cifar10", "--from", "binaries", "--to", "data/cifar10"]) == 0

    text = run(folder, "cifar10/train.py", "--iterations", 14)
    assert 0 < accuracy(text) < 100
    assert (folder / "snapshots" / "cifar10" / "snapshot-000014.hdf5").is_file()


def test_images_are_interpolated(binaries):
    image = read_idx(DIGITS / "t10k-images-idx3-ubyte.gz", (28, 28))[0].astype(float)
    found = np.fromfile(binaries / "test_batch.bin", np.uint8)[1:1025].reshape(32, 32)
    for row, column in [(0, 0), (10, 12), (13, 17), (31, 31)]:
        y, x = row * 27 / 31, column * 27 / 31
        i, j = min(int(y), 26), min(int(x), 26)
        upper = image[i, j] * (1 - (x - j)) + image[i, j + 1] * (x - j)
        lower = image[i + 1, j] * (1 - (x - j)) + image[i + 1, j + 1] * (x - j)
        assert found[row, column] == pytest.approx(upper * (1 - (y - i)) + lower * (y - i), abs=0.5001)


def test_script_of_the_readme_runs(folder, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert script.count("max_iter=1500") == 1
    monkeypatch.chdir(folder)
    names = {}
    exec(script.replace("max_iter=1500", "max_iter=3"), names)
    assert names["scores"].shape == (7, 10)
