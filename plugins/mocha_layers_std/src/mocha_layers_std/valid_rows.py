"""Masks the rows of a minibatch that count: the first `valid_rows`."""

from __future__ import annotations

from mocha_core.api import Array, Namespace


def counted(xp: Namespace, valid_rows: Array, x: Array) -> Array:
    """Whether each row of x (N, ...) counts, as booleans of shape (N, 1, ...) with as many axes as x."""
    rows = xp.arange(x.shape[0], dtype=xp.int64) < xp.astype(valid_rows, xp.int64)
    return xp.reshape(rows, (x.shape[0],) + (1,) * (len(x.shape) - 1))
