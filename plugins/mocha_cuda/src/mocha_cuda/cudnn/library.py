"""`Library`: cuDNN's C functions, with their statuses checked."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any

from mocha_core.api import BackendError
from mocha_cuda import libraries
from mocha_cuda.cudnn.constants import OLDEST

#: What each function takes; all of them return a status.
FUNCTIONS: dict[str, list[Any]] = {
    "cudnnCreate": [POINTER(c_void_p)],
    "cudnnDestroy": [c_void_p],
    "cudnnSetStream": [c_void_p, c_void_p],
    "cudnnBackendCreateDescriptor": [c_int, POINTER(c_void_p)],
    "cudnnBackendDestroyDescriptor": [c_void_p],
    "cudnnBackendSetAttribute": [c_void_p, c_int, c_int, c_int64, c_void_p],
    "cudnnBackendGetAttribute": [c_void_p, c_int, c_int, c_int64, POINTER(c_int64), c_void_p],
    "cudnnBackendFinalize": [c_void_p],
    "cudnnBackendExecute": [c_void_p, c_void_p, c_void_p],
}
#: Of cuDNN's messages since they were last asked for: warnings about engines it tried, a line each, and the error.
MESSAGE_BYTES = 1 << 18


class CuDNNError(BackendError):
    """A function of cuDNN failed. `status` is what it returned."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def opened() -> tuple[ctypes.CDLL, int]:
    """cuDNN and its version, such as 92800 for 9.28.0. Takes milliseconds: the libraries behind it are loaded later.

    Raises:
        BackendError: as `Library`.
    """
    functions = libraries.load("cudnn", (9,))
    functions.cudnnGetVersion.restype = c_size_t
    version = int(functions.cudnnGetVersion())
    if version < OLDEST:
        raise BackendError(
            f"cuDNN {dotted(version)} was found ({functions._name}), expected {dotted(OLDEST)} or newer. "
            "Install one with the plugin's extra for your driver: pip install --upgrade 'mocha-cuda[cuda13]', or "
            "[cuda12]."
        )
    return functions, version


class Library:
    """cuDNN 9.8 or newer.

    Raises:
        BackendError: it is not there, or too old; says what was looked for and found, and how to get it.
    """

    def __init__(self) -> None:
        # cuDNN needs it beside itself, and ends the process where it is missing.
        libraries.load("cublasLt", (13, 12))
        self.functions, self.version = opened()
        for name, arguments in FUNCTIONS.items():
            # Not functions[name], which is another object each time, and would pass pointers as ints of 32 bits.
            getattr(self.functions, name).argtypes = arguments
        self.functions.cudnnGetErrorString.restype = c_char_p
        self.functions.cudnnGetLastErrorString.argtypes = [c_char_p, c_size_t]
        self.functions.cudnnGetLastErrorString.restype = None

    def call(self, name: str, *arguments: Any, what: str = "") -> None:
        """Call a function.

        Args:
            name: which.
            arguments: what it takes.
            what: was being done, for errors.

        Raises:
            CuDNNError: it returned another status than success; names the function, the status and cuDNN's reason.
        """
        status = getattr(self.functions, name)(*arguments)
        if status:
            raise CuDNNError(self._message(f"{name}({what})" if what else name, status), status)

    def _message(self, call: str, status: int) -> str:
        reason = ctypes.create_string_buffer(MESSAGE_BYTES)
        self.functions.cudnnGetLastErrorString(reason, MESSAGE_BYTES)
        called = self.functions.cudnnGetErrorString(status).decode()
        lines = reason.value.decode(errors="replace").strip().splitlines() or ["no reason"]
        said = lines[-1].strip().removesuffix(".")
        return f"cuDNN {dotted(self.version)}: {call} returned {called} ({status}): {said}."


class Handle:
    """cuDNN's state on the current device; what is executed with it goes into its stream."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.pointer = c_void_p()
        self.stream: Any = None
        library.call("cudnnCreate", byref(self.pointer))

    def use(self, stream: Any) -> None:
        """Execute in a stream of CuPy's from now on. It is there as long as cuDNN may look at it."""
        self.library.call("cudnnSetStream", self.pointer, stream.ptr)
        self.stream = stream


def dotted(version: int) -> str:
    """92801 as 9.28.1."""
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


@cache
def library() -> Library:
    """The one of this process, loaded at the first use."""
    return Library()
