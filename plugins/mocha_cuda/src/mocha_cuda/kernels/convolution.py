"""Convolutions, by cuDNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mocha_core.api import Runnable, Spec, warn
from mocha_cuda.compiled import Buffers, CUDAKernel, Series, served
from mocha_cuda.cudnn.graph import Operand
from mocha_cuda.cudnn.plans import NoPlanError, Wants
from mocha_cuda.cudnn.problem import Direction, Problem
from mocha_cuda.kernels.block_sums import tickets

if TYPE_CHECKING:
    from mocha_core.api import Call
    from mocha_cuda.backend import CUDABackend

#: The minimum number of elements of a channel's gradient that a block sums, and the maximum of blocks for a channel.
SLICE = 4096
MOST_SLICES = 64


class Convolution(CUDAKernel):
    """y (N, K, P, Q) is x (N, C, H, W) under the filters w (K, C / groups, R, S), plus the bias b (K,).

    cuDNN adds gradients itself: it scales the old contents by 1 instead of 0.

    Raises:
        NoPlanError: cuDNN cannot compute it with the backend's options.
    """

    family = "convolution"
    rectifies = True
    #: The dtype that cuDNN computes with.
    operands_dtype: str

    def __init__(self, backend: CUDABackend, call: Call) -> None:
        super().__init__(backend, call)
        self.operands_dtype = self.dtype
        self.x, self.w, self.y = (value.spec for value in (call.ins[0], call.ins[1], call.outs[0]))
        self.wants = Wants(exact=backend.precision == "float32", deterministic=backend.deterministic)
        per_channel = self.y.size // self.w.shape[0]
        self.slices = max(1, min(MOST_SLICES, per_channel // SLICE))
        self.sums = Spec((self.w.shape[0] * self.slices,), self.dtype)
        self.prepare()

    def prepare(self) -> None:
        """Find plans and declare their workspaces."""
        forward = self.plan(Direction.FORWARD)
        rectified = self.plan(Direction.FORWARD, relu=True)
        self.forward_workspace = (scratch(forward, rectified),)
        gradients = (Direction.BACKWARD_DATA, Direction.BACKWARD_FILTER)
        backward = [self.plan(direction, add=add) for direction in gradients for add in (False, True)]
        self.backward_workspace = (scratch(*backward), self.sums)

    def plan(self, direction: Direction, relu: bool = False, add: bool = False) -> Any:
        """The plan for one tensor; the same plan for the same arguments."""
        problem = Problem(
            direction,
            self.x.shape,
            self.w.shape,
            self.y.shape,
            self.op.stride[::-1],
            self.op.pad[::-1],
            dtype=self.operands_dtype,
            bias=direction is Direction.FORWARD,
            relu=relu,
            add=add,
        )
        return self.backend.convolutions.plan(problem, self.wants)

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        return self.output(ins, outs, relu=False)

    def rectified(self, ins: Buffers, outs: Buffers, add: Sequence[bool], floor: float) -> Runnable:
        if floor == 0:
            return self.output(ins, outs, relu=True)
        y = outs[0]
        return Series(self.output(ins, outs, relu=False), self.bind("rectify", y, y.size, floor, threads=y.size))

    def output(self, ins: Buffers, outs: Buffers, relu: bool) -> Callable[[], None]:
        """Computes y, with its bias and its ReLU."""
        x, w, b = ins
        y, workspace = outs
        return self.run(Direction.FORWARD, x, w, y, workspace, b, relu=relu)

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, w), (dx, dw, db, workspace, sums) = ins[:3], outs
        parts: list[Callable[[], None]] = []
        if dx is not None:
            parts.append(self.run(Direction.BACKWARD_DATA, dx, w, dy, workspace, add=add[0]))
        if dw is not None:
            parts.append(self.run(Direction.BACKWARD_FILTER, x, dw, dy, workspace, add=add[1]))
        if db is not None:
            parts.append(self.bias(dy, db, sums, add[2]))
        return Series(*parts)

    def run(
        self,
        direction: Direction,
        x: Any,
        w: Any,
        y: Any,
        workspace: Any,
        bias: Any = None,
        relu: bool = False,
        add: bool = False,
    ) -> Callable[[], None]:
        """Computes one of the three tensors, or its gradient, from the others."""
        arrays = {Operand.X: x, Operand.W: w, Operand.Y: y} | ({} if bias is None else {Operand.BIAS: bias})
        return self.plan(direction, relu, add).bind(arrays, workspace)  # type: ignore[no-any-return]

    def bias(self, dy: Any, db: Any, sums: Any, add: bool) -> Callable[[], None]:
        """Computes the gradient of the bias: the sum of each channel, always in the same order."""
        n, channels, height, width = dy.shape
        length = -(-n * height * width // self.slices)
        operands = [dy, sums, tickets(self.backend, channels), db]
        sizes = n, channels, height * width, self.slices, length
        return self.bind("bias_gradient", *operands, *sizes, add, blocks=channels * self.slices)

    @property
    def label(self) -> str:
        return f"convolution ({self.plan(Direction.FORWARD).label})"


class Bfloat16Convolution(Convolution):
    """Rounds its inputs to bfloat16, sums in float32, and rounds its results to bfloat16."""

    def prepare(self) -> None:
        self.operands_dtype = "bfloat16"
        forward = [self.plan(Direction.FORWARD, relu=relu) for relu in (False, True)]
        backward = [self.plan(direction) for direction in (Direction.BACKWARD_DATA, Direction.BACKWARD_FILTER)]
        halves = [halved(spec) for spec in (self.x, self.w, self.y)]
        self.forward_workspace = (scratch(*forward), *halves, halved(Spec(self.w.shape[:1], self.dtype)))
        # Either gradient may be wanted alone. Each has its own place, or that of an array that it does not need.
        self.backward_workspace = (scratch(*backward), self.sums, *halves)

    def output(self, ins: Buffers, outs: Buffers, relu: bool) -> Callable[[], None]:
        y, workspace, x16, w16, y16, b16 = outs
        casts = [self.rounded(array, half) for array, half in zip(ins, (x16, w16, b16))]
        run = self.run(Direction.FORWARD, x16, w16, y16, workspace, b16, relu=relu)
        return Series(*casts, run, self.widened(y16, y))

    def backward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        (dy, x, w), (dx, dw, db, workspace, sums, x16, w16, y16) = ins[:3], outs
        parts: list[Callable[[], None]] = []
        if dx is not None or dw is not None:
            parts.append(self.rounded(dy, y16))
        if dx is not None:
            run = self.run(Direction.BACKWARD_DATA, x16, w16, y16, workspace)
            parts += [self.rounded(w, w16), run, self.widened(x16, dx, add[0])]
        if dw is not None:
            run = self.run(Direction.BACKWARD_FILTER, x16, w16, y16, workspace)
            parts += [self.rounded(x, x16), run, self.widened(w16, dw, add[1])]
        if db is not None:
            parts.append(self.bias(dy, db, sums, add[2]))
        return Series(*parts)

    def rounded(self, array: Any, half: Any) -> Callable[[], None]:
        """Converts an array to bfloat16."""
        return self.bind("to_bfloat16", array, half, array.size, threads=array.size)

    def widened(self, half: Any, array: Any, add: bool = False) -> Callable[[], None]:
        """Converts bfloat16 to the dtype of the array."""
        return self.bind("from_bfloat16", half, array, array.size, add, threads=array.size)


def scratch(*plans: Any) -> Spec:
    """A workspace that is large enough for any of the plans."""
    return Spec((max(plan.workspace_bytes for plan in plans),), "int8")


def halved(spec: Spec) -> Spec:
    """An array for as many bfloat16 numbers, two in one integer."""
    return Spec((-(-spec.size // 2),), "int32")


@served
def _by_cudnn(backend: CUDABackend, call: Call) -> Convolution:
    rounds = backend.precision == "bf16" and call.ins[0].dtype == "float32"
    return (Bfloat16Convolution if rounds else Convolution)(backend, call)


def convolution(backend: CUDABackend, call: Call) -> Convolution | None:
    """Declines empty arrays, and, with a warning, convolutions that cuDNN cannot compute."""
    if not all(value.spec.size for value in (*call.ins, *call.outs)):
        return None
    try:
        return _by_cudnn(backend, call)
    except NoPlanError as error:
        what = f"Layer '{call.layer}' runs as its reference, slowly"
        warn(f"{what}: {error}")
        return None
