"""Where the libraries of CUDA are."""

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

    The one that the process has already; else where cuda-pathfinder finds it, which CuPy asks, too; else from NVIDIA's
    wheels, or where the system has it. Of several versions, that of the CUDA that CuPy was made for, which the driver
    is good for: an older driver runs nothing of a newer major version.

    Args:
        name: without "lib" and ".so".
        majors: the major versions that will do, the best first.

    Raises:
        BackendError: it is nowhere; says where it was looked for, and how to get it.
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
    """As `load`, but a file in the usual places is taken for the library: loading some takes a second.

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
    """Where NVIDIA's wheels have it: nvidia-cudnn-cu13 as nvidia/cudnn/lib, nvidia-cublas as nvidia/cu13/lib."""
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
