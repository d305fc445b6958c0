"""Division in kernels by numbers that are known when the kernel is bound, see csrc/divide.cuh."""

from __future__ import annotations

import numpy as np


def by(divisor: int) -> np.uint64:
    """The argument of `quotient`: a factor in the lower 32 bits, and above it the right shift of the product.

    With L the bits of `divisor - 1`, the factor is ceil(2**(31 + L) / divisor): too large by less than one part in
    2**31, which no dividend below 2**31 can tell.

    Source: T. Granlund, P. L. Montgomery, "Division by invariant integers using multiplication", PLDI 1994.
    """
    shift = 31 + (divisor - 1).bit_length()
    return np.uint64(shift << 32 | -(-(1 << shift) // divisor))
