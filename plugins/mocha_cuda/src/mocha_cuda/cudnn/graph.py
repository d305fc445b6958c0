"""A `Problem` as cuDNN's operation graph."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from mocha_cuda.cudnn.constants import Attribute as A
from mocha_cuda.cudnn.constants import ConvolutionMode, DataType, Kind, NaN, PointwiseMode, Type
from mocha_cuda.cudnn.descriptors import Descriptor
from mocha_cuda.cudnn.library import Library
from mocha_cuda.cudnn.problem import Direction, Problem, Shape

DATA_TYPES = {"float32": DataType.FLOAT, "float64": DataType.DOUBLE, "bfloat16": DataType.BFLOAT16}
#: The alignment of every operand's address, in bytes.
ALIGNMENT = 16


class Operand(IntEnum):
    """The numbers of the tensors in memory: x or its gradient, and so on."""

    X = 1
    W = 2
    Y = 3
    BIAS = 4


def operands(problem: Problem) -> tuple[Operand, ...]:
    """The tensors of a problem."""
    return (Operand.X, Operand.W, Operand.Y) + (Operand.BIAS,) * problem.bias


def strides(shape: Shape, channels_last: bool = False) -> Shape:
    """Elements from one index to the next, of packed memory."""
    _, c, h, w = shape
    return (c * h * w, 1, w * c, c) if channels_last else (c * h * w, h * w, w, 1)


class Graph:
    """The operations of a problem: a convolution, for forward then its bias and its ReLU.

    Args:
        library: cuDNN.
        problem: the convolution to compute.
        attributes: more attributes of the graph, such as the handle.

    Raises:
        CuDNNError: cuDNN refuses the graph.
    """

    def __init__(self, library: Library, problem: Problem, attributes: dict[A, Any] | None = None) -> None:
        self.library = library
        self.problem = problem
        self._last = int(max(Operand))
        dtype = DATA_TYPES[problem.dtype]
        #: bfloat16 is summed as float32.
        self.sums = DataType.DOUBLE if dtype is DataType.DOUBLE else DataType.FLOAT
        x = self._tensor(problem.x, dtype, Operand.X)
        w = self._tensor(problem.w, dtype, Operand.W)
        y = self._tensor(problem.y, dtype, Operand.Y)
        made = self._between(problem.y) if problem.bias or problem.relu else y
        operations = [self._convolution(x, w, made)]
        if problem.bias:
            biased = self._between(problem.y) if problem.relu else y
            bias = self._tensor((1, problem.w[0], 1, 1), dtype, Operand.BIAS)
            operations.append(self._pointwise(PointwiseMode.ADD, made, biased, bias))
            made = biased
        if problem.relu:
            operations.append(self._pointwise(PointwiseMode.RELU_FWD, made, y))
        self.descriptor = Descriptor(
            library, Kind.OPERATIONGRAPH, {A.OPERATIONGRAPH_OPS: operations} | (attributes or {})
        )

    def _tensor(self, shape: Shape, dtype: DataType, number: int, virtual: bool = False) -> Descriptor:
        return Descriptor(
            self.library,
            Kind.TENSOR,
            {
                A.TENSOR_UNIQUE_ID: number,
                A.TENSOR_DATA_TYPE: dtype,
                A.TENSOR_DIMENSIONS: shape,
                A.TENSOR_STRIDES: strides(shape, self.problem.channels_last),
                A.TENSOR_BYTE_ALIGNMENT: ALIGNMENT,
                A.TENSOR_IS_VIRTUAL: virtual,
            },
        )

    def _between(self, shape: Shape) -> Descriptor:
        """A tensor that one operation hands to the next without storing it in memory."""
        self._last += 1
        return self._tensor(shape, self.sums, self._last, virtual=True)

    def _convolution(self, x: Descriptor, w: Descriptor, y: Descriptor) -> Descriptor:
        problem, library = self.problem, self.library
        convolution = Descriptor(
            library,
            Kind.CONVOLUTION,
            {
                A.CONVOLUTION_COMP_TYPE: self.sums,
                A.CONVOLUTION_CONV_MODE: ConvolutionMode.CROSS_CORRELATION,
                A.CONVOLUTION_SPATIAL_DIMS: 2,
                A.CONVOLUTION_PRE_PADDINGS: problem.pad,
                A.CONVOLUTION_POST_PADDINGS: problem.pad,
                A.CONVOLUTION_DILATIONS: problem.dilation,
                A.CONVOLUTION_FILTER_STRIDES: problem.stride,
            },
        )
        kind, names = OPERATIONS[problem.direction]
        operation = Descriptor(library, kind)
        for attribute, value in zip(names, (convolution, x, w, y)):
            operation.set(attribute, value)
        scalar = Type.DOUBLE if self.sums is DataType.DOUBLE else Type.FLOAT
        alpha, beta = names[4:]
        operation.set(alpha, 1.0, scalar)
        operation.set(beta, float(problem.add), scalar)
        return operation.finalized()

    def _pointwise(
        self, mode: PointwiseMode, x: Descriptor, y: Descriptor, bias: Descriptor | None = None
    ) -> Descriptor:
        attributes = {A.POINTWISE_MODE: mode, A.POINTWISE_MATH_PREC: self.sums}
        if mode is PointwiseMode.RELU_FWD:
            attributes[A.POINTWISE_NAN_PROPAGATION] = NaN.PROPAGATE_NAN
        pointwise = Descriptor(self.library, Kind.POINTWISE, attributes)
        operation = {
            A.OPERATION_POINTWISE_PW_DESCRIPTOR: pointwise,
            A.OPERATION_POINTWISE_XDESC: x,
            A.OPERATION_POINTWISE_YDESC: y,
        }
        if bias is not None:
            operation[A.OPERATION_POINTWISE_BDESC] = bias
        return Descriptor(self.library, Kind.OPERATION_POINTWISE, operation)


#: The operation of each direction, and its attributes: convolution, x, w, y, alpha, beta.
OPERATIONS: dict[Direction, tuple[Kind, tuple[A, ...]]] = {
    Direction.FORWARD: (
        Kind.OPERATION_CONVOLUTION_FORWARD,
        (
            A.OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            A.OPERATION_CONVOLUTION_FORWARD_X,
            A.OPERATION_CONVOLUTION_FORWARD_W,
            A.OPERATION_CONVOLUTION_FORWARD_Y,
            A.OPERATION_CONVOLUTION_FORWARD_ALPHA,
            A.OPERATION_CONVOLUTION_FORWARD_BETA,
        ),
    ),
    Direction.BACKWARD_DATA: (
        Kind.OPERATION_CONVOLUTION_BACKWARD_DATA,
        (
            A.OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            A.OPERATION_CONVOLUTION_BWD_DATA_DX,
            A.OPERATION_CONVOLUTION_BWD_DATA_W,
            A.OPERATION_CONVOLUTION_BWD_DATA_DY,
            A.OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
            A.OPERATION_CONVOLUTION_BWD_DATA_BETA,
        ),
    ),
    Direction.BACKWARD_FILTER: (
        Kind.OPERATION_CONVOLUTION_BACKWARD_FILTER,
        (
            A.OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            A.OPERATION_CONVOLUTION_BWD_FILTER_X,
            A.OPERATION_CONVOLUTION_BWD_FILTER_DW,
            A.OPERATION_CONVOLUTION_BWD_FILTER_DY,
            A.OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            A.OPERATION_CONVOLUTION_BWD_FILTER_BETA,
        ),
    ),
}
