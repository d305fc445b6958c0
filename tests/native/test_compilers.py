"""The sources compile without a warning for arm64 and with clang, and their objects are what they promise to be."""

import platform
import re
import runpy
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from mocha_native.compiled import Compiled
from mocha_native.isa import VARIABLE
from mocha_native.kernels.traced import Interpreted
from nets import data, parameters
from standard_layers import standard_layers

import mocha_core as mocha
from mocha_core import solvers
from mocha_core.testing.tolerances import assert_close

PLUGIN = Path(__file__).parents[2] / "plugins" / "mocha_native"
BUILD = runpy.run_path(str(PLUGIN / "objects.py"))
REPLAY = Path(__file__).with_name("replay.c")
GCC_ARM64 = "aarch64-linux-gnu-gcc"
QEMU = "qemu-aarch64"
ROOM = {"buffers": 20, "sizes": 32, "numbers": 8}


def needs(command, package):
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"needs {command}: apt install {package}")


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(compiler, machine, cache, openmp, more=()):
    return BUILD["build"](BUILD["objects"](machine, openmp, ["-Werror", *more]), [compiler, "-fPIC"], cache)


@pytest.fixture(scope="session")
def cache():
    """Where `setup.py` has its objects, too: each is compiled once, whatever Python the tests run on."""
    return PLUGIN / "build" / "objects"


@needs("gcc", "gcc")
def test_copies_of_the_sources_that_share_a_folder_keep_their_own_objects(tmp_path):
    cache, copies = tmp_path / "cache", {}
    for number in (1, 2):
        copy = tmp_path / str(number)
        (copy / "csrc").mkdir(parents=True)
        shutil.copy(PLUGIN / "objects.py", copy)
        (copy / "csrc" / "number.h").write_text(f"#define NUMBER {number}\n")
        (copy / "csrc" / "number.c").write_text('#include "number.h"\nint number(void) { return NUMBER; }\n')
        copies[number] = runpy.run_path(str(copy / "objects.py"))

    def build(number):
        (path,) = copies[number]["build"]([copies[number]["Object"]("number.c", "", ["-Icsrc"])], ["gcc"], cache)
        return Path(path)

    first = build(1)
    before = first.read_bytes(), first.stat().st_mtime_ns
    second = build(2)
    assert second.read_bytes() != before[0]
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before  # a link that comes only now gets its own object
    assert build(1) == first
    assert first.stat().st_mtime_ns == before[1]
    assert sorted(cache.iterdir()) == sorted([first, second])


@needs("clang", "clang")
def test_clang_accepts_all_sources(cache):
    # Without optimizing, which would take most of a minute: it warns of nothing more.
    assert len(compiled("clang", "x86_64", cache, [], ["-O0"])) == 4 + 3 * len(BUILD["FAMILIES"])


@pytest.fixture(scope="session")
def arm64(cache):
    return compiled(GCC_ARM64, "aarch64", cache, ["-fopenmp"])


@needs(GCC_ARM64, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
def test_all_sources_compile_for_arm64_and_link(arm64, tmp_path):
    assert len(arm64) == 4 + len(BUILD["FAMILIES"])
    # Whatever they need is in the libraries that the extension is linked with.
    run([GCC_ARM64, "-shared", "-Wl,-z,defs", "-fopenmp", *arm64, "-lm", "-lpthread", "-o", tmp_path / "native.so"])


@pytest.fixture(scope="session")
def here(cache):
    """The objects for this processor by name, such as "avx2/softmax", made as `tox` has installed them."""
    found = compiled("gcc", platform.machine(), cache, ["-fopenmp"])
    return {str(path.relative_to(cache)).rpartition("-")[0]: path for path in map(Path, found)}


@needs("gcc", "gcc")
@needs("nm", "binutils")
def test_kernels_and_executor_take_no_memory(here):
    for name, path in here.items():
        wanted = {line.split()[-1] for line in run(["nm", "--undefined-only", path]).splitlines()}
        assert wanted.isdisjoint({"malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign"}), name


@needs("gcc", "gcc")
@needs("objdump", "binutils")
@pytest.mark.skipif(not BUILD["is_x86"](platform.machine()), reason="x86 only")
def test_each_instruction_set_is_used_only_where_it_is_asked_for(here):
    """A single instruction of another one would end the process on an older processor."""
    instruction = re.compile(r"^ +[0-9a-f]+:\t(\w+)(.*)$", re.MULTILINE)
    for name, path in here.items():
        if not name.startswith("avx512"):
            code = instruction.findall(run(["objdump", "-d", "--no-show-raw-insn", path]))
            assert code
            foreign = [c for c in code if "zmm" in c[1] or (not name.startswith("avx2") and c[0].startswith("v"))]
            assert foreign == [], name


class Recorded:
    """A kernel bound to operands: what replay.c reads, and what has to be in the buffers afterwards."""

    def __init__(self, compiled):
        self.name = compiled.name
        args = compiled.args
        self.buffers = [None if b is None else np.asarray(b) for b in compiled._buffers]
        self.blocks = self.merge([(b.ctypes.data, b.ctypes.data + b.nbytes) for b in self.buffers if b is not None])
        parts = [struct.pack("64sqq", self.name.encode(), compiled.serial, len(self.blocks))]
        for begin, end in self.blocks:
            parts += [struct.pack("qq", end - begin, begin % 64), self.bytes_from(begin, end)]
        for i in range(ROOM["buffers"]):
            b = self.buffers[i] if i < len(self.buffers) else None
            parts.append(struct.pack("qq", *((-1, 0) if b is None else self.place(b))))
        parts.append(struct.pack(f"{ROOM['sizes']}q", *args.sizes))
        parts.append(struct.pack(f"{ROOM['numbers']}d", *args.numbers))
        self.input = b"".join(parts)
        compiled()
        self.expected = [None if b is None else b.copy() for b in self.buffers]

    @staticmethod
    def merge(intervals):
        """Buffers that share memory lie in one block."""
        blocks = []
        for begin, end in sorted(intervals):
            if blocks and begin < blocks[-1][1]:
                blocks[-1][1] = max(blocks[-1][1], end)
            else:
                blocks.append([begin, end])
        return blocks

    def bytes_from(self, begin, end):
        memory = bytearray(end - begin)
        for b in self.buffers:
            if b is not None and begin <= b.ctypes.data < end:
                at = b.ctypes.data - begin
                memory[at : at + b.nbytes] = b.tobytes()
        return bytes(memory)

    def place(self, buffer):
        address = buffer.ctypes.data
        return next(
            (i, address - begin) for i, (begin, end) in enumerate(self.blocks) if begin <= address < max(end, begin + 1)
        )

    def check(self, file):
        """Reads the blocks as they were left, and compares the buffers in them."""
        blocks = [file.read(end - begin) for begin, end in self.blocks]
        for i, (buffer, expected) in enumerate(zip(self.buffers, self.expected)):
            if buffer is not None:
                block, at = self.place(buffer)
                found = np.frombuffer(blocks[block][at : at + buffer.nbytes], buffer.dtype).reshape(buffer.shape)
                # What no kernel ever wrote may be anything, also numbers whose squares overflow.
                found, expected = (np.where(np.abs(x) < 1e30, x, 0) for x in (found, expected))
                assert_close(f"{self.name}, buffer {i}", found, expected, 1e-5 if buffer.dtype == "float32" else 1e-12)


@pytest.fixture(scope="session")
def replay(cache, tmp_path_factory):
    target = tmp_path_factory.mktemp("arm64") / "replay"
    # Recorded operands are packed for this processor's tiles, which are smaller: arm64 has more registers.
    arm64 = compiled(GCC_ARM64, "aarch64", cache, ["-fopenmp"], ["-U__aarch64__"])
    flags = [*BUILD["FLAGS"], *BUILD["WARNINGS"], "-Werror", f"-I{BUILD['SOURCES']}", f"-I{PLUGIN / BUILD['INCLUDE']}"]
    run([GCC_ARM64, *flags, "-fopenmp", REPLAY, *arm64, "-lm", "-lpthread", "-o", target])
    return target


@needs(GCC_ARM64, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
@needs(QEMU, "qemu-user")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 9])
def test_kernels_compute_on_arm64_what_they_compute_here(replay, dtype, batch, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "baseline")
    recorded = []
    for fuse in (True, False):
        with mocha.System(NativeBackend(threads=2, fuse=fuse), seed=2, dtype=dtype) as system:
            net = mocha.Net("net", system, [data(batch, shape=(1, 16, 16)), *standard_layers()])
            solver = solvers.SGD(parameters(2, momentum=0.9))
            solver.solve(net)
            for bound in net.runs.training_program(solver).bound:
                # The addresses of a step that another calls, and of a traced one's arrays, mean nothing elsewhere.
                parts = bound.run.parts if isinstance(bound.run, Compiled) else ()
                calls = any(isinstance(b, Compiled) for part in parts for b in part._buffers)
                if parts and not calls and not any(isinstance(part, Interpreted) for part in parts):
                    recorded += map(Recorded, parts)
                else:
                    bound.run()
    assert len(recorded) > 40
    (tmp_path / "in").write_bytes(struct.pack("q", len(recorded)) + b"".join(r.input for r in recorded))
    libraries = Path(run([GCC_ARM64, "-print-file-name=libc.so.6"]).strip()).resolve().parents[1]
    run([QEMU, "-L", libraries, replay, tmp_path / "in", tmp_path / "out", 2])
    with (tmp_path / "out").open("rb") as file:
        for one in recorded:
            one.check(file)
        assert file.read() == b""
