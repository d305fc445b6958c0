"""Every kernel compiles for every architecture, and in float32 none spills registers to memory."""

import ctypes
import re

import pytest
from generated_ops import call_of
from mocha_cuda import nvrtc
from mocha_cuda.generate import source
from traced_ops import AdamUpdate, Softmax

from mocha_core.compile.trace import trace_forward
from mocha_core.errors import BackendError

ARCHITECTURES = (75, 80, 90, 100, 120)
FAMILIES = sorted(path.stem for path in nvrtc.SOURCES.rglob("*.cu"))


@pytest.fixture(autouse=True)
def compiler():
    try:
        nvrtc.version()
    except BackendError as error:
        pytest.skip(f"kernels cannot be compiled: {error}")


#: In double for the oldest and the usual one only, to save time: there is no code for single ones.
DOUBLE = (75, 90)


@pytest.mark.parametrize(
    ("architecture", "dtype"), [*((a, "float32") for a in ARCHITECTURES), *((a, "float64") for a in DOUBLE)]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_compiles(family, architecture, dtype):
    options = [f"-arch=sm_{architecture}", "--std=c++17", f"-DREAL={nvrtc.REALS[dtype]}", f"-I{nvrtc.SOURCES}"]
    source = (nvrtc.SOURCES / "kernels" / f"{family}.cu").read_bytes()
    code, log = nvrtc.compiled(family, source, [*options, "--ptxas-options=-v"])
    assert code.startswith(b"\x7fELF")
    assert "warning" not in log
    spills = re.findall(r"(\d+) bytes spill", log)
    assert spills
    assert dtype == "float64" or set(spills) == {"0"}, log


@pytest.mark.parametrize("op", [Softmax(), AdamUpdate(fault=3)], ids=lambda op: op.name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generated_kernels_compile(op, architecture, tmp_path, monkeypatch):
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path))
    for dtype in nvrtc.REALS:
        call = call_of(op, dtype)
        family = nvrtc.written(source(trace_forward(call, [True] * len(call.outs))))
        assert nvrtc.code(family, dtype, architecture).startswith(b"\x7fELF")


def test_a_source_that_is_wrong_says_what_the_compiler_said():
    with pytest.raises(BackendError, match=r"'bad\.cu'.*sm_90.*NVRTC \d+\.\d+ says: .*undefined_function"):
        nvrtc.compiled("bad", b"__global__ void f() { undefined_function(); }", ["-arch=sm_90"])


def test_machine_code_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path / "cache"))
    code = nvrtc.code("dropout", "float32", 90)
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_bytes() == code
    kept.write_bytes(b"kept")
    assert nvrtc.code("dropout", "float32", 90) == b"kept"
    assert nvrtc.code("dropout", "float64", 90) != b"kept"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path / "file" / "cache"))
    assert nvrtc.code("dropout", "float32", 90).startswith(b"\x7fELF")


def test_the_library_is_missing(monkeypatch):
    def refused(name, mode):
        raise OSError(f"{name}: cannot open")

    monkeypatch.setattr(ctypes, "CDLL", refused)
    nvrtc.library.cache_clear()
    try:
        with pytest.raises(
            BackendError, match=r"'nvrtc' was not found \(.*libnvrtc\.so\.12: cannot open\).*mocha-cuda\[cuda13\]"
        ):
            nvrtc.code("dropout", "float32", 90)
    finally:
        nvrtc.library.cache_clear()


@pytest.mark.parametrize(
    ("architecture", "known", "target"),
    [
        (90, (80, 90, 100), "sm_90"),
        (103, (80, 90, 100, 120), "compute_100"),
        (121, (80, 90, 100), "compute_100"),
        (75, (75, 80), "sm_75"),
    ],
)
def test_a_device_that_is_newer_than_the_compiler_gets_what_its_driver_compiles(
    monkeypatch, tmp_path, architecture, known, target
):
    monkeypatch.setenv(nvrtc.VARIABLE, str(tmp_path))
    monkeypatch.setattr(nvrtc, "architectures", lambda: known)
    assert nvrtc.target(architecture) == target
    code = nvrtc.code("dropout", "float32", architecture)
    if target.startswith("sm_"):
        assert code.startswith(b"\x7fELF")
    else:
        assert f".target {target.replace('compute', 'sm')}\n".encode() in code
        assert code.endswith(b"\0")
    assert nvrtc.code("dropout", "float32", architecture) == code
    assert [path.name.split("-")[2] for path in tmp_path.iterdir()] == [target]


def test_a_device_that_is_older_than_the_compiler():
    with pytest.raises(BackendError, match=r"sm_35, but NVRTC \d+\.\d+ compiles for sm_\d+ and newer.*cuda12"):
        nvrtc.target(35)


def test_the_compiler_says_what_it_is_for():
    assert {80, 90} < set(nvrtc.architectures())
