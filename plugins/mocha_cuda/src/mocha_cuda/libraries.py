"""Where the libraries of CUDA are."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mocha_core.errors import BackendError


def load(name: str, majors: Sequence[int]) -> ctypes.CDLL:
    """A shared library of CUDA, such as `load("nvrtc", (13, 12))`: from NVIDIA's wheels, or where the system has it.

    Raises:
        BackendError: it is nowhere; says where it was looked for.
    """
    tried = []
    for candidate in _candidates(name, majors):
        try:
            return ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            tried.append(str(error))
    raise BackendError(
        f"CUDA's library '{name}' was not found ({'; '.join(tried)}). Install it with the plugin's extra for your "
        "driver: pip install 'mocha-cuda[cuda13]', or [cuda12]."
    )


def _candidates(name: str, majors: Sequence[int]) -> Iterator[str]:
    files = [f"lib{name}.so.{major}" for major in majors]
    for file in files:
        for folder in sys.path:
            yield from map(str, sorted(Path(folder).glob(f"nvidia/*/lib/{file}")))
    yield from files
