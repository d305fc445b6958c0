"""Checks that results computed from a NaN are NaN, so that users notice it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mocha_core.compile.backend import Backend
from mocha_core.compile.kernel import Kernel
from mocha_core.testing.kernel_checks import Bench
from mocha_core.testing.op_case import OpCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A change large enough to make any element the largest, or the smallest.
FAR = 1000.0


def check_nan_shows(case: OpCase) -> None:
    """If an element on which outputs depend is NaN, at least one output is NaN."""
    before = outputs(case)
    with np.errstate(all="ignore"):
        for i, where in places(case):
            moved = [outputs(changed(case, i, where, float(case.inputs[i][where]) + by)) for by in (FAR, -FAR)]
            if all(same(before, after) for after in moved):
                continue
            if not any(np.isnan(out).any() for out in outputs(changed(case, i, where, np.nan))):
                raise AssertionError(
                    f"the outputs of op '{case.op.name}' depend on element {where} of input {i}, but none is NaN when "
                    "it is, so a broken net goes unnoticed. Let a NaN in an input give a NaN in an output."
                )


def check_nan_in_kernel(case: OpCase, backend: Backend, kernel: Kernel, dtype: str) -> None:
    """A kernel's outputs are NaN if they depend on a NaN; others are NaN only if the reference's are.

    The reference multiplies padding, too, and 0 * NaN is NaN; a kernel may leave such products out.
    """
    with np.errstate(all="ignore"):
        for i, where in places(case):
            broken = changed(case, i, where, np.nan)
            expected, found = broken.forward(broken.arrays(dtype)), Bench(broken, backend, kernel, dtype).forward()
            for n in range(case.visible):
                wanted, got = np.asarray(expected[n]), found[n]
                if got is None or wanted.dtype.kind != "f" or np.array_equal(np.isnan(got), np.isnan(wanted)):
                    continue
                needed = np.isnan(wanted) & depends(case, i, where, n, dtype)
                if np.any(np.isnan(got) & ~np.isnan(wanted)) or np.any(needed & ~np.isnan(got)):
                    raise AssertionError(
                        f"element {where} of input {i} is NaN: expected {needed.sum()} elements of output {n} to be "
                        f"NaN, as in the reference, received {(needed & np.isnan(got)).sum()}, and "
                        f"{(np.isnan(got) & ~np.isnan(wanted)).sum()} that are not NaN there."
                    )


def depends(case: OpCase, i: int, where: tuple[int, ...], n: int, dtype: str) -> NDArray[np.bool_]:
    """Which elements of output n of the reference change with an element of input i."""
    there = float(case.inputs[i][where])
    cases = [case, *(changed(case, i, where, there + by) for by in (FAR, -FAR))]
    before, up, down = (np.asarray(one.forward(one.arrays(dtype))[n]) for one in cases)
    changes: NDArray[np.bool_] = (up != before) | (down != before)
    return changes


def places(case: OpCase) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The first element, one in the middle and the last of each input that has a gradient."""
    for i, wanted in enumerate(case.wanted):
        shape = np.shape(case.inputs[i])
        size = int(np.prod(shape))
        for flat in sorted({0, size // 2, size - 1}) if wanted and size else ():
            yield i, tuple(map(int, np.unravel_index(flat, shape)))


def changed(case: OpCase, i: int, where: tuple[int, ...], number: float) -> OpCase:
    """The case with another number in one place."""
    inputs = [np.array(array) for array in case.inputs]
    inputs[i][where] = number
    return replace(case, inputs=inputs)


def outputs(case: OpCase) -> list[NDArray[Any]]:
    """The visible floating results of the reference in float64."""
    results = case.forward(case.arrays("float64"))[: case.visible]
    return [array for array in map(np.asarray, results) if array.dtype.kind == "f"]


def same(first: list[NDArray[Any]], second: list[NDArray[Any]]) -> bool:
    """Whether two lists of arrays are equal."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))
