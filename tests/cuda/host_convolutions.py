"""`HostConvolutions`: what mocha_cuda's `Convolutions` offers, on the host: the op's reference instead of cuDNN.

It treats memory as cuDNN may: a workspace is overwritten, and what is not added to is not read.
"""

import numpy as np
from mocha_cuda.cudnn.graph import Operand, operands
from mocha_cuda.cudnn.problem import Direction
from mocha_layers_std.convolution import Convolution

#: Such as no plan of cuDNN has.
WORKSPACE = 37


class HostConvolutions:
    def __init__(self, device):
        self.device = device
        self.asked = []

    def plan(self, problem, wants):
        self.asked.append((problem, wants))
        return HostConvolution(self.device, problem)


class HostConvolution:
    workspace_bytes = WORKSPACE
    label = "on the host"

    def __init__(self, device, problem):
        self.device = device
        self.problem = problem

    def bind(self, arrays, workspace):
        problem = self.problem
        assert set(arrays) == set(operands(problem))
        assert workspace.nbytes >= WORKSPACE
        shapes = {Operand.X: problem.x, Operand.W: problem.w, Operand.Y: problem.y, Operand.BIAS: problem.w[:1]}
        views = {operand: Tensor(array, shapes[operand], problem.dtype) for operand, array in arrays.items()}

        def run():
            workspace[...] = 111
            self.compute(views)

        return lambda: self.device.submit(run)

    def compute(self, views):
        problem = self.problem
        assert problem.dilation == (1, 1)
        assert not problem.channels_last
        groups = problem.x[1] // problem.w[1]
        op = Convolution(problem.w[:1:-1], problem.stride[::-1], problem.pad[::-1], groups)
        if problem.direction is Direction.FORWARD:
            bias = views[Operand.BIAS].get() if problem.bias else np.zeros(problem.w[0])
            result = op.forward(np, views[Operand.X].get(), views[Operand.W].get(), bias)
            if problem.relu:
                result = np.maximum(result, 0)
            target = views[Operand.Y]
        else:
            index, target = (
                (0, views[Operand.X]) if problem.direction is Direction.BACKWARD_DATA else (1, views[Operand.W])
            )
            blank = {operand: np.zeros(view.shape, view.real) for operand, view in views.items()}
            x, w = (blank[o] if views[o] is target else views[o].get() for o in (Operand.X, Operand.W))
            dy = views[Operand.Y].get()
            result = op.backward(np, (dy,), (x, w, None), (None,), [i == index for i in range(3)])[index]
        target.put(result + target.get() if problem.add else result)


class Tensor:
    """Memory as a tensor of float32, float64 or, two in an integer, bfloat16."""

    def __init__(self, array, shape, dtype):
        self.shape = shape
        self.half = dtype == "bfloat16"
        self.real = "float32" if self.half else dtype
        n = int(np.prod(shape))
        self.memory = (array.view(np.uint16).ravel() if self.half else array.reshape(-1))[:n]
        assert np.shares_memory(self.memory, array)
        assert self.memory.size == n
        assert self.half or array.dtype == dtype

    def get(self):
        if self.half:
            return (self.memory.astype(np.uint32) << 16).view(np.float32).reshape(self.shape)
        return self.memory.reshape(self.shape)

    def put(self, values):
        if self.half:
            bits = np.ascontiguousarray(values, np.float32).view(np.uint32).ravel()
            values = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        self.memory[...] = np.ravel(values)
