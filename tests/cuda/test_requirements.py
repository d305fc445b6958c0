"""What `mocha backends` says where something is missing."""

import ctypes
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import fake_cupy
import pytest
from mocha_cuda import libraries, requirements
from mocha_cuda.requirements import unavailable

import mocha_core as mocha
from mocha_core.cli import main
from mocha_core.errors import BackendError

FILES = {
    "nvrtc": "cu13/lib/libnvrtc.so.13",
    "cublasLt": "cu13/lib/libcublasLt.so.13",
    "cudnn": "cudnn/lib/libcudnn.so.9",
}


class CuDNN(SimpleNamespace):
    """One that is new enough."""

    def __init__(self, name, version=90800):
        super().__init__(_name=name)

        def cudnnGetVersion():
            return version

        self.cudnnGetVersion = cudnnGetVersion


@pytest.fixture
def loaded(monkeypatch):
    """Libraries that somebody wants to load; there is none on this machine but the files of cuDNN."""
    names = []

    def found(name, mode):
        if name.endswith("libcudnn.so.9") and Path(name).exists():
            return CuDNN(name)
        names.append(name)
        raise OSError(f"{name}: cannot open")

    monkeypatch.setattr(ctypes, "CDLL", found)
    monkeypatch.setattr(libraries, "_by_pathfinder", lambda name: None)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return names


@pytest.fixture
def wheels(tmp_path, monkeypatch, loaded):
    """CuPy with two devices, and files of all libraries."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    for file in FILES.values():
        (tmp_path / "nvidia" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nvidia" / file).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path / "nvidia"


def test_there_is_everything(wheels, loaded):
    """Only cuDNN, which is quick, is loaded: for its version."""
    assert unavailable() == ""
    assert {Path(name).name for name in loaded} <= {"libcudnn.so.9"}


@pytest.mark.parametrize("name", FILES)
def test_a_library_is_missing(wheels, name):
    (wheels / FILES[name]).unlink()
    with pytest.raises(
        BackendError,
        match=rf"'cuda' is not available: CUDA's library '{name}' was not found .*cannot open.*mocha-cuda\[cuda13\]",
    ):
        mocha.System("cuda")


def test_a_library_is_where_the_linker_looks(wheels, monkeypatch, loaded):
    (wheels / FILES["cublasLt"]).rename(wheels / "libcublasLt.so.13")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{wheels}")
    assert unavailable() == ""
    assert {Path(name).name for name in loaded} <= {"libcudnn.so.9"}


def test_a_library_that_only_the_system_finds_is_loaded(wheels, monkeypatch):
    for file in FILES.values():
        (wheels / file).unlink()
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: CuDNN(name))
    assert unavailable() == ""


def test_cudnn_is_too_old(wheels, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: CuDNN(name, 90700))
    assert unavailable().startswith("cuDNN 9.7.0 was found (libcudnn.so.9), expected 9.8.0 or newer. Install one")


@pytest.mark.parametrize("major", [12, 13])
def test_of_two_versions_that_of_cupy_is_loaded(wheels, monkeypatch, major):
    """One for CUDA 13 cannot do anything with a driver for CUDA 12."""
    for version in (12, 13):
        (wheels / f"cu{version}" / "lib").mkdir(parents=True, exist_ok=True)
        (wheels / f"cu{version}" / "lib" / f"libnvrtc.so.{version}").touch()
    monkeypatch.setattr(fake_cupy.runtime, "runtimeGetVersion", lambda: 1000 * major + 90)

    def opened(name, mode):
        if mode & os.RTLD_NOLOAD:
            raise OSError("not loaded yet")
        return name

    monkeypatch.setattr(ctypes, "CDLL", opened)
    assert str(libraries.load("nvrtc", (13, 12))).endswith(f"libnvrtc.so.{major}")


def test_cupy_is_too_old(wheels, monkeypatch):
    monkeypatch.setattr(fake_cupy, "__version__", "13.6.0")
    assert "CuPy 13.6.0 was found, expected 14 or newer" in unavailable()


def test_there_is_no_cupy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["backends"]) == 0
    assert "cuda (mocha-cuda): not available: CuPy cannot be imported" in capsys.readouterr().out


def test_there_is_no_driver(wheels, monkeypatch):
    def refused():
        raise fake_cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cupy.runtime, "getDeviceCount", refused)
    assert unavailable().startswith("CUDA finds no driver or device (cudaErrorInsufficientDriver)")


def test_there_is_no_device(wheels, monkeypatch):
    monkeypatch.setattr(fake_cupy.runtime, "getDeviceCount", lambda: 0)
    assert "CUDA_VISIBLE_DEVICES" in unavailable()


def test_it_asks_for_what_is_loaded_later():
    assert set(requirements.LIBRARIES) == set(FILES)
