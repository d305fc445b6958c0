"""NVRTC: compiles a kernel's source for one architecture. Needs neither a driver nor a device."""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mocha_core.api import BackendError, FileError, caches
from mocha_cuda import libraries

#: The environment variable that names the folder for compiled kernels.
VARIABLE = "MOCHA_CUDA_CACHE"
SOURCES = Path(__file__).parent / "csrc"
REALS = {"float32": "float", "float64": "double"}


def cache_folder() -> Path:
    """The folder for compiled kernels and cuDNN's fastest plans."""
    return caches.cache_folder("mocha-cuda", VARIABLE)


def target(architecture: int) -> str:
    """The target to compile for: "sm_90", or "compute_90" for a device that is newer than NVRTC.

    The latter is PTX, which the driver compiles when it loads it.

    Raises:
        BackendError: the device is older than all architectures of NVRTC; the message names them and the way out.
    """
    known = architectures()
    older = [number for number in known if number <= architecture]
    if not older:
        raise BackendError(
            f"The device is of architecture sm_{architecture}, but NVRTC {'.'.join(map(str, version()))} compiles for "
            f"sm_{min(known)} and newer. Install an older CUDA: pip install 'mocha-cuda[cuda12]'."
        )
    return f"sm_{architecture}" if architecture in known else f"compute_{max(older)}"


def source_of(family: str | Path) -> Path:
    """The source of a family of kernels: `csrc/kernels/<family>.cu`, or the file itself, of any distribution."""
    return family if isinstance(family, Path) else SOURCES / "kernels" / f"{family}.cu"


def code(family: str | Path, dtype: str, architecture: int) -> bytes:
    """The compiled kernels of `source_of(family)` for a dtype and an architecture (90 is sm_90).

    The source includes "mocha.cuh", and the headers (*.cuh) in its own folder.

    They are machine code, or PTX if NVRTC cannot make it. The first use compiles them, `cache_folder()` keeps them.

    Raises:
        BackendError: NVRTC is missing, too new for the device, or refuses the source; the message has NVRTC's log.
            Or the source cannot be read.
    """
    made_for = target(architecture)
    path = source_of(family)
    folders = list(dict.fromkeys((SOURCES, path.parent)))
    options = [f"-arch={made_for}", "--std=c++17", f"-DREAL={REALS[dtype]}", *(f"-I{folder}" for folder in folders)]
    try:
        source = path.read_bytes()
        headers = b"".join(header.read_bytes() for folder in folders for header in sorted(folder.glob("*.cuh")))
    except OSError as error:
        raise BackendError(
            f"Kernels '{path}' cannot be read: {error}. Reinstall the distribution of the file."
        ) from None
    key = hashlib.blake2b(b"\0".join([repr((version(), options)).encode(), headers, source]), digest_size=16)
    kept = cache_folder() / f"{path.stem}-{dtype}-{made_for}-{key.hexdigest()}"
    try:
        return kept.read_bytes()
    except OSError:
        made, _ = compiled(path.stem, source, options)
        caches.keep(kept, made)
        return made


def written(source: str) -> Path:
    """The file of a source that is generated: in `cache_folder()`, or where this process can write."""
    name = f"traced-{hashlib.blake2b(source.encode(), digest_size=16).hexdigest()}.cu"
    for folder in (cache_folder(), _temporary()):
        path = folder / "sources" / name
        if not path.exists():
            caches.keep(path, source.encode())
        if path.exists():
            return path
    raise FileError(f"The source of a kernel cannot be written to {path}. Set {VARIABLE} to a folder that can be.")


@cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="mocha-cuda-"))


def compiled(family: str, source: bytes, options: Iterable[str]) -> tuple[bytes, str]:
    """Machine code, or PTX for -arch=compute_..., and the compiler's log.

    With the option -Xptxas=-v the log has the registers and spills of each kernel.
    """
    options = list(options)
    nvrtc = library()
    program = ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, f"{family}.cu".encode(), 0, None, None))
    try:
        flags = [option.encode() for option in options]
        status = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        log = _text(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if status:
            raise BackendError(
                f"Kernels '{family}.cu' were not compiled for {' '.join(flag.decode() for flag in flags)}. "
                f"NVRTC {'.'.join(map(str, version()))} says: {log.strip() or status}"
            )
        virtual = any(option.startswith("-arch=compute_") for option in options)
        return _text(program, "PTX" if virtual else "CUBIN"), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(library(), f"nvrtcGet{what}")(program, text))
    return text.raw


@cache
def library() -> ctypes.CDLL:
    """The library, loaded at the first use."""
    nvrtc = libraries.load("nvrtc", (13, 12))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def version() -> tuple[int, int]:
    """The version of the library, such as (13, 0)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


@cache
def architectures() -> tuple[int, ...]:
    """The architectures that the library makes machine code for, such as 90 for sm_90."""
    count = ctypes.c_int()
    _check(library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    numbers = (ctypes.c_int * count.value)()
    _check(library().nvrtcGetSupportedArchs(numbers))
    return tuple(numbers)


def _check(status: int) -> None:
    if status:
        raise BackendError(f"NVRTC failed: {library().nvrtcGetErrorString(status).decode()}.")
