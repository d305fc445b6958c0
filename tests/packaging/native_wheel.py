"""What `tox -e pkg` checks of the one wheel that has compiled code. Runs in the folder where they were built."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

#: What every Linux has, and what comes with gcc.
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libgomp.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
(WHEEL,) = Path("wheels").glob("mocha_native-*.whl")
(SOURCES,) = Path("wheels").glob("mocha_native-*.tar.gz")


def test_one_wheel_serves_all_pythons():
    python, abi, _ = WHEEL.stem.split("-")[-3:]
    assert (python, abi) == ("cp311", "abi3")


def test_it_is_small():
    assert WHEEL.stat().st_size < 2_000_000


def test_it_holds_what_runs_and_nothing_else():
    names = zipfile.ZipFile(WHEEL).namelist()
    assert "mocha_native/_native.abi3.so" in names
    endings = {Path(name).suffix for name in names if not name.startswith("mocha_native-")}
    assert endings == {".h", ".py", ".pyi", ".so", ".typed"}


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump: apt install binutils")
def test_it_needs_no_library_that_may_be_missing(tmp_path):
    zipfile.ZipFile(WHEEL).extract("mocha_native/_native.abi3.so", tmp_path)
    command = ["objdump", "-p", tmp_path / "mocha_native" / "_native.abi3.so"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    needed = {line.split()[1] for line in lines if line.split()[:1] == ["NEEDED"]}
    assert needed
    assert needed <= LIBRARIES


def test_without_a_compiler_pip_says_what_to_do(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", tmp_path, SOURCES]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = subprocess.run(pip, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "mocha-native is compiled when it is installed, and 'no-such-compiler' compiles no C here" in said
    assert "Install gcc or clang" in said
    assert "pip install mocha-core mocha-cpu" in said
