"""What users read where cuDNN is missing, too old, or fails. In processes of their own: a library stays loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def build(folder, name, *flags):
    """A library where NVIDIA's wheels would have it."""
    path = folder / "nvidia" / name.split(".")[0].removeprefix("lib").lower() / "lib" / name
    path.parent.mkdir(parents=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", str(HERE / "fake_cudnn.c"), "-o", str(path), *flags]
    subprocess.run(command, check=True)


def said(folder, *lines):
    """What a program prints that finds libraries in `folder` only."""
    packages = [str(Path(module.__file__).parents[1]) for module in map(__import__, ("mocha_core", "mocha_cuda"))]
    paths = [str(folder), *packages, *sys.path]
    setup = f"import sys; sys.path = {paths!r}; import mocha_cuda.cudnn.library as library\n"
    hide = f"sys.modules['cuda'] = None; sys.path = {[str(folder), *packages]!r}\n"
    program = setup + hide + "\n".join(lines)
    environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "PYTHONPATH")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    return done.stdout + done.stderr


@pytest.fixture
def wheels(tmp_path):
    build(tmp_path, "libcublasLt.so.13", "-DVERSION=0")
    return tmp_path


def test_it_is_missing(wheels):
    text = said(wheels, "library.library()")
    assert "mocha_core.errors.BackendError: CUDA's library 'cudnn' was not found (libcudnn.so.9: " in text
    assert "pip install 'mocha-cuda[cuda13]'" in text


def test_what_it_needs_is_missing(tmp_path):
    build(tmp_path, "libcudnn.so.9", "-DVERSION=92800")
    text = said(tmp_path, "library.library()")
    assert "CUDA's library 'cublasLt' was not found (libcublasLt.so.13: " in text


def test_it_is_too_old(wheels):
    build(wheels, "libcudnn.so.9", "-DVERSION=90101")
    text = said(wheels, "library.library()")
    path = wheels / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"
    assert f"BackendError: cuDNN 9.1.1 was found ({path}), expected 9.8.0 or newer." in text
    assert "pip install --upgrade 'mocha-cuda[cuda13]'" in text


def test_it_fails(wheels):
    build(wheels, "libcudnn.so.9", "-DVERSION=92801")
    text = said(
        wheels,
        "from mocha_core.errors import BackendError",
        "try: library.Handle(library.library())",
        "except BackendError as error: print(error, error.status)",
    )
    assert text == "cuDNN 9.28.1: cudnnCreate returned CUDNN_STATUS_NOT_SUPPORTED (3000): it is   a fake. 3000\n"


def test_pointers_are_passed_as_a_whole(wheels):
    build(wheels, "libcudnn.so.9", "-DVERSION=92801")
    text = said(wheels, "library.library().call('cudnnSetStream', None, 0x123456789A)", "print('done')")
    assert text == "done\n"


def test_one_that_is_loaded_already_is_taken(wheels, tmp_path):
    build(wheels, "libcudnn.so.9", "-DVERSION=92801", "-Wl,-soname,libcudnn.so.9")
    path = wheels / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"
    elsewhere = tmp_path / "elsewhere.so"
    path.rename(elsewhere)
    text = said(wheels, "import ctypes", f"ctypes.CDLL({str(elsewhere)!r})", "print(library.library().version)")
    assert text == "92801\n"
