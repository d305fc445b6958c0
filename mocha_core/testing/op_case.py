"""`OpCase`: an op, its inputs, and the results of its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.errors import MochaError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Phase, Plan
from mocha_core.graph.value import Spec, Value
from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.tolerances import NUMERIC_GRADIENT, assert_close

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class OpCase:
    """An op and its inputs: float64 arrays, which tests cast, and labels and cells, which keep their dtypes."""

    op: Op
    inputs: Sequence[Any]
    double: Sequence[int] = ()
    """Inputs that are float64 in nets of any dtype, such as statistics."""
    valid_rows: int | None = None
    """How many rows count, for an op with that number as an input. As in a net, the other rows of the outputs have no
    gradient."""

    def arrays(self, dtype: str) -> Arrays:
        """The inputs in the dtypes of a net of that dtype."""
        arrays = [np.asarray(array) for array in self.inputs]
        return [
            array.astype(dtype) if array.dtype.kind == "f" and i not in self.double else array
            for i, array in enumerate(arrays)
        ]

    def call(self, dtype: str) -> Call:
        """A use of the op on such inputs."""
        plan = Plan(Phase.TRAIN, batch=1)
        ins = [Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(self.arrays(dtype))]
        plan.call(self.op, *ins, layer="test")
        return plan.steps[0].call

    @cached_property
    def visible(self) -> int:
        """The number of outputs that other ops can read."""
        return len(self.call("float64").outs) - len(self.op.updates) - self.op.saved

    @cached_property
    def wanted(self) -> list[bool]:
        """Which inputs have a gradient."""
        chosen = self.op.differentiable
        return [
            self.op.has_backward and a.dtype.kind == "f" and (chosen is None or i in chosen)
            for i, a in enumerate(self.arrays("float64"))
        ]

    def output_gradients(self, dtype: str) -> list[NDArray[Any] | None]:
        """Random gradients of the visible outputs, None for the others."""
        random = np.random.default_rng(7)
        outs = self.call(dtype).outs
        drawn = [random.standard_normal(out.shape).astype(dtype) for out in outs]
        for gradient in drawn if self.valid_rows is not None else []:
            if gradient.ndim:
                gradient[self.valid_rows :] = 0
        return [g if i < self.visible and "float" in outs[i].dtype else None for i, g in enumerate(drawn)]

    def forward(self, arrays: Arrays) -> Arrays:
        """All results of the reference."""
        results = self.op.forward(np, *arrays)
        return results if isinstance(results, tuple) else (results,)

    def exact(self, dtype: str) -> tuple[Arrays, Arrays]:
        """Results and wanted gradients of the reference in float64, for inputs rounded to a dtype."""
        arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in self.arrays(dtype)]
        dy = [None if g is None else g.astype(np.float64) for g in self.output_gradients(dtype)]
        results = self.forward(arrays)
        if not any(self.wanted):
            return results, []
        x = [array if self.op.reads("x", i) else None for i, array in enumerate(arrays)]
        y = [array if self.op.reads("y", i) else None for i, array in enumerate(results)]
        found = self.op.backward(np, dy, x, y, self.wanted)
        zeros = [np.zeros(array.shape) for array in arrays]
        gradients = [zero if g is None else g for zero, g in zip(zeros, found, strict=True)]
        return results, [g for g, want in zip(gradients, self.wanted, strict=True) if want]


def check_op_gradients(case: OpCase) -> None:
    """Backward, given only what `backward_reads` lists, agrees with central differences, in float64. So does dy where
    `passes_gradient` says that it is the gradient."""
    arrays, dy, found = (case.arrays("float64"), case.output_gradients("float64"), iter(case.exact("float64")[1]))
    for i in [i for i, want in enumerate(case.wanted) if want]:

        def objective(moved: NDArray[Any], i: int = i) -> float:
            outs = case.forward([*arrays[:i], moved, *arrays[i + 1 :]])
            return sum(float(np.sum(out * g)) for out, g in zip(outs, dy, strict=True) if g is not None)

        expected = numeric_gradient(objective, arrays[i])
        assert_close(f"gradient of input {i} of op '{case.op.name}'", next(found), expected, NUMERIC_GRADIENT)
        if i in case.op.passes_gradient:
            what = f"passes_gradient of op '{case.op.name}': dy, as the gradient of input {i}"
            assert_close(what, dy[0], expected, NUMERIC_GRADIENT)


def check_infer(case: OpCase) -> None:
    """`infer` returns specs for any inputs, or raises a `MochaError` that shows the received specs."""
    given = [Spec(array.shape, str(array.dtype)) for array in case.arrays("float64")]
    for i, spec in enumerate(given):
        shapes = ((), (1,), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6), (*spec.shape, 2), spec.shape[1:])
        others = [
            *(Spec(shape, spec.dtype) for shape in shapes),
            Spec(spec.shape, "int64"),
            Spec(spec.shape, "float32"),
        ]
        for other in others:
            what = f"infer of op '{case.op.name}' with {other} as input {i}"
            try:
                made = case.op.infer(*given[:i], other, *given[i + 1 :])
            except MochaError:
                continue
            except Exception as error:
                raise AssertionError(
                    f"{what}: expected a ShapeError, received {type(error).__name__}: {error}."
                ) from error
            if not isinstance(made, tuple) or not all(isinstance(one, Spec) for one in made):
                raise AssertionError(f"{what}: expected a tuple of specs, received {made!r}.")
