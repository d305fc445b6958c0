"""`Library`: cuBLASLt's functions, and descriptors that free themselves."""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import Any

from mocha_core.api import BackendError
from mocha_cuda.cublaslt.constants import Algorithm, Attribute, HeuristicResult, Status
from mocha_cuda.libraries import load

#: The arguments of the functions. Enums are ints in C; handles and descriptors are pointers.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (POINTER(c_void_p),),
    "cublasLtDestroy": (c_void_p,),
    "cublasLtMatrixLayoutCreate": (POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64),
    "cublasLtMatrixLayoutSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatrixLayoutGetAttribute": (c_void_p, c_int, c_void_p, c_size_t, POINTER(c_size_t)),
    "cublasLtMatrixLayoutDestroy": (c_void_p,),
    "cublasLtMatmulDescCreate": (POINTER(c_void_p), c_int, c_int),
    "cublasLtMatmulDescSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatmulDescGetAttribute": (c_void_p, c_int, c_void_p, c_size_t, POINTER(c_size_t)),
    "cublasLtMatmulDescDestroy": (c_void_p,),
    "cublasLtMatmulPreferenceCreate": (POINTER(c_void_p),),
    "cublasLtMatmulPreferenceSetAttribute": (c_void_p, c_int, c_void_p, c_size_t),
    "cublasLtMatmulPreferenceGetAttribute": (c_void_p, c_int, c_void_p, c_size_t, POINTER(c_size_t)),
    "cublasLtMatmulPreferenceDestroy": (c_void_p,),
    # handle, product, A, B, C, D, preference, maximum number of results, results, their number
    "cublasLtMatmulAlgoGetHeuristic": (*(c_void_p,) * 7, c_int, POINTER(HeuristicResult), POINTER(c_int)),
    "cublasLtMatmul": (
        *(c_void_p, c_void_p),  # handle, product
        *(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),  # alpha, A, its layout, B, its layout
        *(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),  # beta, C, its layout, D, its layout
        *(POINTER(Algorithm), c_void_p, c_size_t, c_void_p),  # algorithm, workspace, its bytes, stream
    ),
}


class CublasError(BackendError):
    """A function of cuBLASLt failed.

    Attributes:
        status: the result of the function.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Library:
    """cuBLASLt's functions, by name: `library.cublasLtCreate(...)`; each returns its status."""

    def __init__(self, shared: ctypes.CDLL) -> None:
        for name, arguments in SIGNATURES.items():
            function = getattr(shared, name)
            function.argtypes, function.restype = arguments, c_int
            setattr(self, name, function)
        self._version = shared.cublasLtGetVersion
        self._version.argtypes, self._version.restype = (), c_size_t
        self._meaning = shared.cublasLtGetStatusString
        self._meaning.argtypes, self._meaning.restype = (c_int,), c_char_p

    def __getattr__(self, name: str) -> Any:
        """Python calls this only for missing names; it tells type checkers that there are functions."""
        raise AttributeError(name)

    @property
    def version(self) -> int:
        """Such as 131000 for 13.10.0, or 120901 for 12.9.1."""
        return int(self._version())

    def call(self, name: str, *arguments: Any, what: str = "") -> None:
        """Call a function.

        Args:
            what: the purpose of the call, for the error's text.

        Raises:
            CublasError: the function failed.
        """
        self.check(name, getattr(self, name)(*arguments), what)

    def check(self, name: str, status: int, what: str = "") -> None:
        """Raise a `CublasError` where the function `name` returned anything but success."""
        if status != Status.SUCCESS:
            known = {member.value: f"CUBLAS_STATUS_{member.name}" for member in Status}.get(status, "an unknown status")
            meaning = (self._meaning(status) or b"").decode()
            where = f"{what}: {name}" if what else name
            raise CublasError(
                f"{where} returned {known} ({status}: {meaning}); this is cuBLASLt {self.version}. Try a newer one, by "
                "the plugin's extra for your driver: pip install --upgrade 'mocha-cuda[cuda13]', or [cuda12].",
                status,
            )

    def handle(self) -> Handle:
        """The handle with which products run on the current device."""
        return Handle(self, "cublasLt")


@cache
def library() -> Library:
    """The machine's cuBLASLt. Raises `BackendError` where there is none."""
    return Library(load("cublasLt", (13, 12)))


class Handle:
    """An object of the library: `value` is its pointer. It is destroyed with this object."""

    def __init__(self, library: Library, kind: str, *arguments: Any) -> None:
        self.library = library
        self.kind = kind
        self.value = c_void_p()
        library.call(f"{kind}Create", ctypes.byref(self.value), *arguments)
        weakref.finalize(self, getattr(library, f"{kind}Destroy"), self.value).atexit = False


class Descriptor(Handle):
    """An object with attributes: `cublasLtMatrixLayout`, `cublasLtMatmulDesc` or `cublasLtMatmulPreference`."""

    def set(self, attribute: Attribute, value: int) -> None:
        cell = attribute.c_type(value)
        operands = self.value, attribute.number, ctypes.byref(cell), ctypes.sizeof(cell)
        self.library.call(f"{self.kind}SetAttribute", *operands, what=str(attribute))

    def get(self, attribute: Attribute) -> int:
        cell, written = attribute.c_type(), c_size_t()
        operands = self.value, attribute.number, ctypes.byref(cell), ctypes.sizeof(cell), ctypes.byref(written)
        self.library.call(f"{self.kind}GetAttribute", *operands, what=str(attribute))
        return cell.value or 0
