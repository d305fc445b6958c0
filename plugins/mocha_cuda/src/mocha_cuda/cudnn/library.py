"""`Library`: cuDNN's C functions, with their statuses checked."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any

from mocha_core.api import BackendError
from mocha_cuda import libraries
from mocha_cuda.cudnn.constants import OLDEST

#: The argument types of each function. All functions return a status.
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
#: The number of bytes that are read of cuDNN's messages: a line for each engine it tried, and the error.
MESSAGE_BYTES = 1 << 18


class CuDNNError(BackendError):
    """A function of cuDNN failed. `status` is its result."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def opened() -> tuple[ctypes.CDLL, int]:
    """cuDNN and its version, such as 92800 for 9.28.0. This takes milliseconds: cuDNN loads its own libraries later.

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
        BackendError: cuDNN is missing or too old; the message says which version was found, and how to get another.
    """

    def __init__(self) -> None:
        # cuDNN needs this library, and ends the process if it is missing.
        libraries.load("cublasLt", (13, 12))
        self.functions, self.version = opened()
        for name, arguments in FUNCTIONS.items():
            # functions[name] returns a new object each time: argtypes would be lost, and pointers be cut to 32 bits.
            getattr(self.functions, name).argtypes = arguments
        self.functions.cudnnGetErrorString.restype = c_char_p
        self.functions.cudnnGetLastErrorString.argtypes = [c_char_p, c_size_t]
        self.functions.cudnnGetLastErrorString.restype = None

    def call(self, name: str, *arguments: Any, what: str = "") -> None:
        """Call a function.

        Args:
            name: the name of the function.
            arguments: its arguments.
            what: the purpose of the call, for errors.

        Raises:
            CuDNNError: it did not return success; the message names the function, the status and cuDNN's reason.
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
    """cuDNN's state on the current device. Plans that use it run in its stream."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.pointer = c_void_p()
        self.stream: Any = None
        library.call("cudnnCreate", byref(self.pointer))

    def use(self, stream: Any) -> None:
        """Use a stream of CuPy's from now on. The handle keeps the stream alive."""
        self.library.call("cudnnSetStream", self.pointer, stream.ptr)
        self.stream = stream


def dotted(version: int) -> str:
    """92801 as 9.28.1."""
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


@cache
def library() -> Library:
    """The library of this process, loaded at the first use."""
    return Library()
