"""`Matmul`: one product of matrices for cuBLASLt.

cuBLASLt's matrices are column-major, Mocha's row-major. A row-major matrix of shape (rows, columns) is, in the same
memory, the column-major one of shape (columns, rows) that is its transpose. So this module asks for D' = B' A' instead
of D = A B: the operands change places, each stays transposed or not, and the library's rows of D are columns here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mocha_core.api import BackendError
from mocha_cuda.cublaslt.constants import (
    ComputeType,
    DataType,
    HeuristicResult,
    LayoutAttribute,
    MatmulAttribute,
    Operation,
    PreferenceAttribute,
    ReductionScheme,
    Status,
)
from mocha_cuda.cublaslt.constants import Epilogue as Code
from mocha_cuda.cublaslt.library import CublasError, Descriptor, Handle, Library

DATA_TYPES = {"float32": DataType.R_32F, "float64": DataType.R_64F}
ITEMSIZE = {"float32": 4, "float64": 8}
#: How float32 is multiplied, by the backend's precision. Values in memory stay float32.
PRECISIONS = {"tf32": ComputeType._32F_FAST_TF32, "float32": ComputeType._32F, "bf16": ComputeType._32F_FAST_16BF}
#: The largest alignment in bytes that is reported. Algorithms ask for 16, and this is the library's default.
MOST_ALIGNMENT = 256


class Epilogue(Enum):
    """The operation on a row-major product when it is stored."""

    NONE = Code.DEFAULT
    #: D + vector (n,), in each row.
    BIAS = Code.BIAS
    #: max(D + vector (n,), 0).
    RELU_BIAS = Code.RELU_BIAS
    #: The sums of op(A)'s rows over k are written to vector (m,): a bias's gradient, where A is dy transposed.
    SUMS_OF_A = Code.BGRADB


def alignment(address: int) -> int:
    """The largest power of two that divides an address, in bytes, up to `MOST_ALIGNMENT`."""
    address |= MOST_ALIGNMENT
    return address & -address


@dataclass(frozen=True)
class Matrix:
    """A row-major matrix, or a batch of equally shaped ones, in device memory.

    Attributes:
        stride: elements from one row to the next.
        batch_stride: elements from one matrix to the next; 0 if all are the same matrix.
    """

    address: int
    dtype: str
    rows: int
    columns: int
    stride: int
    batch: int = 1
    batch_stride: int = 0

    @classmethod
    def of(cls, array: Any, address: int) -> Matrix:
        """An array of shape (rows, columns), or (batch, rows, columns), whose rows are contiguous.

        Raises:
            BackendError: the array has another form.
        """
        dtype, itemsize = str(array.dtype), array.dtype.itemsize
        *batch, rows, columns = array.shape if array.ndim in (2, 3) else (0, 0, 0)
        # The strides of axes with one element have no meaning.
        stride = array.strides[-2] // itemsize if rows > 1 else columns
        contiguous = columns == 1 or not array.size or array.strides[-1] == itemsize
        if dtype not in DATA_TYPES or not array.size or not contiguous or stride < columns:
            raise BackendError(
                f"A matrix product received an array of shape {array.shape}, dtype {dtype} and strides "
                f"{array.strides}: expected (rows, columns) or (batch, rows, columns) of {' or '.join(DATA_TYPES)}, "
                "not empty, with contiguous rows that do not overlap."
            )
        count = batch[0] if batch else 1
        return cls(address, dtype, rows, columns, stride, count, array.strides[0] // itemsize if count > 1 else 0)

    def layout(self, library: Library, batch: int) -> Descriptor:
        """The layout for cuBLASLt: that of the column-major transpose."""
        shape = DATA_TYPES[self.dtype], self.columns, self.rows, self.stride
        layout = Descriptor(library, "cublasLtMatrixLayout", *shape)
        if batch > 1:
            layout.set(LayoutAttribute.BATCH_COUNT, batch)
            layout.set(LayoutAttribute.STRIDED_BATCH_OFFSET, self.batch_stride)
        return layout

    @property
    def alignment(self) -> int:
        """The alignment in bytes that all matrices of the batch have."""
        return alignment(self.address | self.batch_stride * self.itemsize)

    @property
    def itemsize(self) -> int:
        return ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class Product:
    """D = alpha op(A) op(B) + beta D, then an epilogue; for each matrix of a batch. A or B may be one for the batch.

    Attributes:
        a, b, d: (m, k), (k, n) and (m, n), or a and b transposed. d does not overlap with a or b.
        vector: the address of the vector that the epilogue reads or writes, contiguous and of d's dtype; None without.
        precision: how float32 is multiplied, see `mocha_cuda.backend.CUDABackend`; float64 is always float64.
        label: the name of the layer, for errors.
    """

    a: Matrix
    b: Matrix
    d: Matrix
    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    beta: float = 0.0
    epilogue: Epilogue = Epilogue.NONE
    vector: int | None = None
    precision: str = "float32"
    label: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        (m, k), (rows, n) = self.op(self.a, self.transpose_a), self.op(self.b, self.transpose_b)
        batches = {self.a.batch, self.b.batch} - {1}
        dtypes = {self.a.dtype, self.b.dtype, self.d.dtype}
        if (m, n) != (self.d.rows, self.d.columns) or k != rows or not batches <= {self.d.batch} or len(dtypes) > 1:
            a, b, d = (f"{x.dtype} ({x.batch}, {x.rows}, {x.columns})" for x in (self.a, self.b, self.d))
            raise BackendError(f"Matrices do not fit: {a} and {b} to {d}, as (batch, rows, columns), in {self}.")
        if self.d.batch > 1 and not self.d.batch_stride:
            raise BackendError(f"Products of a batch would overwrite each other: {self}.")

    @staticmethod
    def op(matrix: Matrix, transposed: bool) -> tuple[int, int]:
        """The shape of a matrix after its transpose."""
        shape = matrix.rows, matrix.columns
        return shape[::-1] if transposed else shape

    @property
    def compute_type(self) -> ComputeType:
        return ComputeType._64F if self.d.dtype == "float64" else PRECISIONS[self.precision]

    def __str__(self) -> str:
        m, n, k = self.d.rows, self.d.columns, self.op(self.a, self.transpose_a)[1]
        a, b = ("AB"[i] + "'" * transposed for i, transposed in enumerate((self.transpose_a, self.transpose_b)))
        batch = f"{self.d.batch} times " * (self.d.batch > 1)
        label = f"{self.label}: " * bool(self.label)
        how = f"{self.d.dtype} by {self.compute_type.name[1:]}, {self.epilogue.name}"
        return f"{label}{batch}{a} {b} of m={m} n={n} k={k}, {how}"


class Matmul:
    """A product, described to cuBLASLt."""

    def __init__(self, handle: Handle, product: Product) -> None:
        self._handle = handle
        self._library = library = handle.library
        self._product = product
        scale = DATA_TYPES[product.d.dtype]
        self._matmul = matmul = Descriptor(library, "cublasLtMatmulDesc", product.compute_type, scale)
        # The operands change places, see the module's docstring.
        matmul.set(MatmulAttribute.TRANSA, Operation.T if product.transpose_b else Operation.N)
        matmul.set(MatmulAttribute.TRANSB, Operation.T if product.transpose_a else Operation.N)
        matmul.set(MatmulAttribute.EPILOGUE, product.epilogue.value)
        if product.vector is not None:
            # The search depends on its alignment.
            matmul.set(MatmulAttribute.BIAS_POINTER, product.vector)
        batch = product.d.batch
        self._a, self._b, self._d = (m.layout(library, batch) for m in (product.b, product.a, product.d))
        scalar = ctypes.c_double if scale is DataType.R_64F else ctypes.c_float
        self._alpha, self._beta = scalar(product.alpha), scalar(product.beta)

    def algorithms(self, workspace: int, deterministic: bool, count: int) -> Sequence[HeuristicResult]:
        """Up to `count` algorithms that need at most `workspace` bytes, in the library's order of expected speed.

        Args:
            deterministic: exclude algorithms that add parts of a sum in the output in the order in which blocks end.

        Raises:
            CublasError: the search failed, or the library serves no such product (`serves_not`).
        """
        product = self._product
        wanted = Descriptor(self._library, "cublasLtMatmulPreference")
        wanted.set(PreferenceAttribute.MAX_WORKSPACE_BYTES, workspace)
        if deterministic:
            wanted.set(PreferenceAttribute.REDUCTION_SCHEME_MASK, ReductionScheme.COMPUTE_TYPE)
        wanted.set(PreferenceAttribute.MIN_ALIGNMENT_A_BYTES, product.b.alignment)
        wanted.set(PreferenceAttribute.MIN_ALIGNMENT_B_BYTES, product.a.alignment)
        wanted.set(PreferenceAttribute.MIN_ALIGNMENT_C_BYTES, product.d.alignment)
        wanted.set(PreferenceAttribute.MIN_ALIGNMENT_D_BYTES, product.d.alignment)
        results, found = (HeuristicResult * count)(), ctypes.c_int()
        layouts = self._a.value, self._b.value, self._d.value, self._d.value
        operands = self._handle.value, self._matmul.value, *layouts, wanted.value, count, results, ctypes.byref(found)
        name = "cublasLtMatmulAlgoGetHeuristic"
        self._library.call(name, *operands, what=str(product))
        served = [result for result in results[: found.value] if result.state == Status.SUCCESS]
        if not served:
            self._library.check(name, Status.NOT_SUPPORTED, str(product))
        return served

    def bound(self, result: HeuristicResult, workspace: int, workspace_bytes: int, stream: int) -> Bound:
        """The product by one of `algorithms`, in a stream, with a workspace that no other work uses meanwhile."""
        product = self._product
        a, b, d = (ctypes.c_void_p(matrix.address) for matrix in (product.b, product.a, product.d))
        operands = (
            *(self._handle.value, self._matmul.value),
            *(ctypes.byref(self._alpha), a, self._a.value, b, self._b.value),
            *(ctypes.byref(self._beta), d, self._d.value, d, self._d.value),
            *(ctypes.byref(result.algo), ctypes.c_void_p(workspace), workspace_bytes, ctypes.c_void_p(stream)),
        )
        return Bound(self, str(product), self._library, operands)


def serves_not(error: CublasError) -> bool:
    """Whether the error means that there is no algorithm for a product; versions differ in their status."""
    return error.status in (Status.NOT_SUPPORTED, Status.INVALID_VALUE, Status.ARCH_MISMATCH)


class Bound:
    """A bound product. A call puts it into its stream.

    Raises:
        CublasError: the library refused it; the message names the product.
    """

    def __init__(self, matmul: Matmul, name: str, library: Library, operands: tuple[Any, ...]) -> None:
        self.name = name
        self._held = matmul
        self._library = library
        self._operands = operands

    def __call__(self) -> None:
        status = self._library.cublasLtMatmul(*self._operands)
        if status:
            self._library.check("cublasLtMatmul", status, self.name)
