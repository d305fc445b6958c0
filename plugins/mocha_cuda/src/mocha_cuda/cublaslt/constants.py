"""The values of cuBLASLt's header that this plugin and its tests use. A test compares them with the header.

Members have the names of C, without the prefix, which the docstring of their class gives.
"""

from __future__ import annotations

import ctypes
from enum import Enum, IntEnum
from typing import Any


class Status(IntEnum):
    """`CUBLAS_STATUS_`: the result of every function."""

    SUCCESS = 0
    NOT_INITIALIZED = 1
    ALLOC_FAILED = 3
    INVALID_VALUE = 7
    ARCH_MISMATCH = 8
    MAPPING_ERROR = 11
    EXECUTION_FAILED = 13
    INTERNAL_ERROR = 14
    NOT_SUPPORTED = 15
    LICENSE_ERROR = 16


class DataType(IntEnum):
    """`CUDA_`: the dtypes of matrices and scalars."""

    R_32F = 0
    R_64F = 1


class ComputeType(IntEnum):
    """`CUBLAS_COMPUTE_`: how products are multiplied and summed. The FAST ones round their inputs only."""

    _32F = 68
    _32F_FAST_16BF = 75
    _32F_FAST_TF32 = 77
    _64F = 70


class Operation(IntEnum):
    """`CUBLAS_OP_`: the operation on a matrix before it is multiplied."""

    N = 0
    T = 1


class Epilogue(IntEnum):
    """`CUBLASLT_EPILOGUE_`: the operation on a product before it is stored."""

    DEFAULT = 1
    BIAS = 4
    RELU_BIAS = 6
    BGRADB = 512


class ReductionScheme(IntEnum):
    """`CUBLASLT_REDUCTION_SCHEME_`: how parts of a sum that were computed side by side are added. A mask."""

    COMPUTE_TYPE = 2


class Attribute(Enum):
    """An attribute of a descriptor: its number, and its type in C."""

    def __init__(self, number: int, c_type: Any) -> None:
        self.number = number
        self.c_type = c_type


class MatmulAttribute(Attribute):
    """`CUBLASLT_MATMUL_DESC_`: the attributes of a product."""

    COMPUTE_TYPE = 0, ctypes.c_int32
    TRANSA = 3, ctypes.c_int32
    TRANSB = 4, ctypes.c_int32
    EPILOGUE = 7, ctypes.c_uint32
    BIAS_POINTER = 8, ctypes.c_void_p


class LayoutAttribute(Attribute):
    """`CUBLASLT_MATRIX_LAYOUT_`: the attributes of a matrix."""

    TYPE = 0, ctypes.c_uint32
    ROWS = 2, ctypes.c_uint64
    COLS = 3, ctypes.c_uint64
    LD = 4, ctypes.c_int64
    BATCH_COUNT = 5, ctypes.c_int32
    STRIDED_BATCH_OFFSET = 6, ctypes.c_int64


class PreferenceAttribute(Attribute):
    """`CUBLASLT_MATMUL_PREF_`: the attributes of a search for algorithms."""

    MAX_WORKSPACE_BYTES = 1, ctypes.c_uint64
    REDUCTION_SCHEME_MASK = 3, ctypes.c_uint32
    MIN_ALIGNMENT_A_BYTES = 5, ctypes.c_uint32
    MIN_ALIGNMENT_B_BYTES = 6, ctypes.c_uint32
    MIN_ALIGNMENT_C_BYTES = 7, ctypes.c_uint32
    MIN_ALIGNMENT_D_BYTES = 8, ctypes.c_uint32


class Algorithm(ctypes.Structure):
    """`cublasLtMatmulAlgo_t`."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """`cublasLtMatmulHeuristicResult_t`."""

    _fields_ = (
        ("algo", Algorithm),
        ("workspaceSize", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("wavesCount", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )
