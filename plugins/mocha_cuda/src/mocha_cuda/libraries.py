"""Finds the libraries of CUDA."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mocha_core.api import BackendError


def load(name: str, majors: Sequence[int]) -> ctypes.CDLL:
    """A shared library of CUDA, such as `load("nvrtc", (13, 12))`.

    It is the library that the process has loaded already, else the one that cuda-pathfinder finds, as for CuPy, else
    that of NVIDIA's wheels or of the system. Of several versions it is the one of the CUDA that CuPy was made for,
    because the driver supports it: an older driver runs nothing of a newer major version.

    Args:
        name: without "lib" and ".so".
        majors: the supported major versions, the best first.

    Raises:
        BackendError: it was not found; the message says where it was looked for, and how to install it.
    """
    files = [f"lib{name}.so.{major}" for major in sorted(majors, key=_is_not_cupys)]
    for file in files:
        with suppress(OSError):
            return ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL | getattr(os, "RTLD_NOLOAD", 0))
    tried = []
    for candidate in _candidates(name, files):
        try:
            return ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            tried.append(str(error))
    raise BackendError(
        f"CUDA's library '{name}' was not found ({'; '.join(tried)}). Install it with the plugin's extra for your "
        "driver: pip install 'mocha-cuda[cuda13]', or [cuda12]."
    )


def check(name: str, majors: Sequence[int]) -> None:
    """As `load`, but without loading a file that it finds in the usual places: loading some takes a second.

    Raises:
        BackendError: as `load`.
    """
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    for major in majors:
        file = f"lib{name}.so.{major}"
        if any((folder / file).exists() for folder in folders) or any(_in_wheels(file)):
            return
    load(name, majors)


def _in_wheels(file: str) -> Iterator[str]:
    """The places in NVIDIA's wheels: nvidia/cudnn/lib for nvidia-cudnn-cu13, nvidia/cu13/lib for nvidia-cublas."""
    for folder in sys.path:
        yield from map(str, sorted(Path(folder).glob(f"nvidia/*/lib/{file}")))


def _candidates(name: str, files: Sequence[str]) -> Iterator[str]:
    found = _by_pathfinder(name)
    for file in files:
        if found is not None and Path(found).name == file:
            yield found
        yield from _in_wheels(file)
    yield from files


def _is_not_cupys(major: int) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and bool(major != cupy.cuda.runtime.runtimeGetVersion() // 1000)


def _by_pathfinder(name: str) -> str | None:
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return load_nvidia_dynamic_lib(name).abs_path  # type: ignore[no-any-return]
    except Exception:  # it is not installed, or finds nothing, for which each version has another error
        return None
