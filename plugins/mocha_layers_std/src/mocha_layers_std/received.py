"""Checks of the specs that an op receives."""

from __future__ import annotations

from collections.abc import Iterable

from mocha_core.api import Builder, ShapeError, Spec, Value, channels_last


def floating(*specs: Spec) -> None:
    """Raise `ShapeError` unless all specs have one floating dtype."""
    dtypes = [spec.dtype for spec in specs]
    if len(set(dtypes)) != 1 or dtypes[0] not in ("float32", "float64"):
        raise ShapeError(f"expected blobs of one floating-point dtype, received {', '.join(map(str, specs))}.")


def rows(x: Spec) -> None:
    """Raise `ShapeError` unless x is a floating (N, ...)."""
    if not x.shape:
        raise ShapeError(f"expected a blob with at least one axis (N, ...), received {x}.")
    floating(x)


def images(x: Spec) -> None:
    """Raise `ShapeError` unless x is a floating (N, channels, height, width)."""
    if len(x.shape) != 4:
        way_out = " Give images of one channel as images[:, np.newaxis]." if len(x.shape) == 3 else ""
        raise ShapeError(f"expected a blob with 4 axes (N, channels, height, width), received {x}.{way_out}")
    floating(x)


def image_blobs(b: Builder, *bottoms: Value) -> None:
    """Raise `ShapeError` unless all bottoms are images, and warn if the axes of data seem to be in another order."""
    for bottom in bottoms:
        images(bottom.spec)
        if b.is_data(bottom) and (hint := channels_last(bottom.shape)):
            b.warn(f"its bottom {bottom.spec} {hint}")


def features(x: Spec) -> None:
    """Raise `ShapeError` unless x is a floating (N, channels, ...) of at least two axes."""
    if len(x.shape) < 2:
        raise ShapeError(f"expected a blob with at least 2 axes (N, channels, ...), received {x}.")
    floating(x)


def alike(a: Spec, b: Spec) -> None:
    """Raise `ShapeError` unless both have the same shape and floating dtype."""
    if a.shape != b.shape:
        raise ShapeError(f"expected two blobs of the same shape, received {a} and {b}.")
    floating(a, b)


def without_ones(shape: Iterable[int]) -> tuple[int, ...]:
    """The sizes of a shape that are not 1."""
    return tuple(size for size in shape if size != 1)
