"""What every op has to do, one function each. They take an `OpCase` and raise `AssertionError` with words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.array_api import Namespace
from mocha_core.op import Op
from mocha_core.plan import Call, Plan
from mocha_core.testing.backends import check_results, strict_namespace
from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.tolerances import NUMERIC_GRADIENT, TOLERANCES, assert_close
from mocha_core.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class OpCase:
    """An op and its inputs: float64 arrays, which tests cast, and arrays and cells of other dtypes."""

    op: Op
    inputs: Sequence[Any]
    double: Sequence[int] = ()
    """Inputs that are float64 in nets of any dtype, such as statistics."""

    def arrays(self, dtype: str) -> Arrays:
        """The inputs as a net of that dtype holds them."""
        arrays = [np.asarray(array) for array in self.inputs]
        return [
            array.astype(dtype) if array.dtype.kind == "f" and i not in self.double else array
            for i, array in enumerate(arrays)
        ]

    def call(self, dtype: str) -> Call:
        """A use of the op on such inputs."""
        plan = Plan(phase=None, batch=0)  # type: ignore[arg-type]
        ins = [Value(f"x{i}", a.shape, str(a.dtype)) for i, a in enumerate(self.arrays(dtype))]
        plan.call(self.op, *ins, layer="test")
        return plan.steps[0].call

    @property
    def visible(self) -> int:
        """How many outputs other ops see."""
        return len(self.call("float64").outs) - len(self.op.updates) - self.op.saved

    @property
    def wanted(self) -> list[bool]:
        """Which inputs have a gradient."""
        indices, arrays = self.op.differentiable, self.arrays("float64")
        return [
            a.dtype.kind == "f" and (indices is None or i in indices) and self.op.has_backward
            for i, a in enumerate(arrays)
        ]

    def output_gradients(self, dtype: str) -> list[NDArray[Any] | None]:
        """Random gradients of the visible outputs, None for the others."""
        random = np.random.default_rng(7)
        outs = self.call(dtype).outs
        return [
            random.standard_normal(out.shape).astype(dtype)
            if i < self.visible and "float" in out.dtype
            else None
            for i, out in enumerate(outs)
        ]

    def forward(self, xp: Namespace, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """All results of the reference."""
        results = self.op.forward(xp, *arrays)
        return results if isinstance(results, tuple) else (results,)

    def backward(
        self,
        xp: Namespace,
        arrays: Sequence[Any],
        results: Sequence[Any],
        wanted: Sequence[bool],
        gradients: Sequence[Any],
    ) -> Arrays:
        """The wanted gradients of the reference, zeros for None; it is given what `backward_reads` lists."""
        x = [array if self.op.reads("x", i) else None for i, array in enumerate(arrays)]
        y = [array if self.op.reads("y", i) else None for i, array in enumerate(results)]
        found = self.op.backward(xp, gradients, x, y, wanted)
        if len(found) != len(arrays):
            raise AssertionError(f"backward: expected {len(arrays)} gradients, received {len(found)}.")
        return [
            np.zeros(array.shape) if gradient is None else gradient
            for array, gradient, want in zip(arrays, found, wanted, strict=True)
            if want
        ]


def exact(case: OpCase, dtype: str) -> tuple[Arrays, Arrays, Arrays]:
    """Inputs rounded to a dtype, and the reference's results and gradients for them, in float64."""
    arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in case.arrays(dtype)]
    dy = [None if g is None else g.astype(np.float64) for g in case.output_gradients(dtype)]
    results = case.forward(np, arrays)
    gradients = case.backward(np, arrays, results, case.wanted, dy) if any(case.wanted) else []
    return arrays, list(results), gradients


def check_infer(case: OpCase, dtype: str) -> None:
    """Results have the shapes and dtypes that `infer` announces, gradients those of the inputs."""
    arrays = case.arrays(dtype)
    results = case.forward(np, arrays)
    check_results(case.call(dtype), results)
    if not any(case.wanted):
        return
    found = case.backward(np, arrays, results, case.wanted, case.output_gradients(dtype))
    inputs = [array for array, want in zip(arrays, case.wanted, strict=True) if want]
    for i, (array, gradient) in enumerate(zip(inputs, found, strict=True)):
        if gradient.shape != array.shape or (gradient.dtype != array.dtype and np.any(gradient)):
            raise AssertionError(
                f"gradient {i} of op '{case.op.name}': expected {array.dtype}{list(array.shape)} as the input is, "
                f"received {gradient.dtype}{list(gradient.shape)}."
            )


def check_pure(case: OpCase, dtype: str) -> None:
    """Neither half changes an array it is given."""
    arrays, dy = case.arrays(dtype), case.output_gradients(dtype)
    results = list(case.forward(np, arrays))
    given = [*arrays, *results, *(g for g in dy if g is not None)]
    copies = [np.array(array) for array in given]
    case.forward(np, arrays)
    if any(case.wanted):
        case.backward(np, arrays, results, case.wanted, dy)
    for i, (array, copy) in enumerate(zip(given, copies, strict=True)):
        if not np.array_equal(array, copy, equal_nan=True):
            kind = "input" if i < len(arrays) else "output or gradient"
            raise AssertionError(f"op '{case.op.name}' changes an {kind} in place; references must be pure.")


def check_gradients(case: OpCase) -> None:
    """Backward, given only what `backward_reads` lists, agrees with central differences, in float64."""
    arrays, dy = case.arrays("float64"), case.output_gradients("float64")
    if not any(case.wanted):
        return
    found = iter(case.backward(np, arrays, case.forward(np, arrays), case.wanted, dy))
    for i, array in enumerate(arrays):
        if case.wanted[i]:

            def objective(moved: NDArray[Any], i: int = i) -> float:
                outs = case.forward(np, [*arrays[:i], moved, *arrays[i + 1 :]])
                return sum(float(np.sum(o * g)) for o, g in zip(outs, dy, strict=True) if g is not None)

            what = f"gradient of input {i} of op '{case.op.name}'"
            assert_close(what, next(found), numeric_gradient(objective, array), NUMERIC_GRADIENT)


def check_wanted(case: OpCase) -> None:
    """Each gradient asked for alone is what it is among all."""
    arrays, dy = case.arrays("float64"), case.output_gradients("float64")
    results = case.forward(np, arrays)
    indices = [i for i, want in enumerate(case.wanted) if want]
    together = case.backward(np, arrays, results, case.wanted, dy) if indices else []
    for i, expected in zip(indices, together, strict=True):
        alone = [index == i for index in range(len(arrays))]
        (found,) = case.backward(np, arrays, results, alone, dy)
        assert_close(f"gradient of input {i} of op '{case.op.name}' alone", found, expected, 0.0)


def check_strict(case: OpCase, dtype: str) -> None:
    """Both halves use what the array API promises, and only names in `mocha_core.array_api`."""
    xp, arrays, dy = strict_namespace(), case.arrays(dtype), case.output_gradients(dtype)
    expected = case.forward(np, arrays)
    strict = [xp.asarray(array) for array in arrays]
    results = case.forward(xp, strict)
    for i, (found, array) in enumerate(zip(results, expected, strict=True)):
        assert_close(f"strict output {i}", np.asarray(found._array), array, TOLERANCES[dtype].outputs)
    if any(case.wanted):
        gradients = case.backward(np, arrays, expected, case.wanted, dy)
        given = [None if g is None else xp.asarray(g) for g in dy]
        computed = case.backward(xp, strict, results, case.wanted, given)
        for i, (found, array) in enumerate(zip(computed, gradients, strict=True)):
            plain = getattr(found, "_array", found)
            assert_close(f"strict gradient {i}", plain, array, TOLERANCES[dtype].gradients)
