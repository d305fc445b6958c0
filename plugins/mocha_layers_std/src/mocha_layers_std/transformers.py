"""Transformers: changes of the rows of a data layer before a net sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mocha_core.api import ConfigurationError, ShapeError, Spec, Transformer, checks, draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale(Transformer):
    """Multiplies every element by `scale`, as `DataTransformers.Scale` of Mocha 0.0.2."""

    fixed = True

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", checks.number("Scale", "scale", self.scale))

    def transform(self, rows: NDArray[Any], seed: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[Any]:
        rows *= self.scale
        return rows


@dataclass(frozen=True, eq=False, repr=False)
class SubMean(Transformer):
    """Subtracts a mean, as `DataTransformers.SubMean` of Mocha 0.0.2.

    Raises:
        ConfigurationError: the mean is no array of finite numbers.
        ShapeError: its shape is not that of a row, nor one that broadcasts to it, such as (channels, 1, 1).
    """

    fixed = True

    mean: Any
    """A number, or an array. It is copied."""

    def __post_init__(self) -> None:
        import numpy as np

        mean = np.array(checks.numbers("SubMean, mean", self.mean), np.float64)
        if not np.isfinite(mean).all():
            odd = mean[~np.isfinite(mean)][0]
            raise ConfigurationError(f"SubMean: expected a mean of finite numbers, received {odd} in it.")
        mean.flags.writeable = False
        object.__setattr__(self, "mean", mean)

    def __repr__(self) -> str:
        return f"SubMean(mean of shape {self.mean.shape})"

    def infer(self, row: Spec) -> Spec:
        import numpy as np

        try:
            fits = np.broadcast_shapes(self.mean.shape, row.shape) == row.shape
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(
                f"SubMean: expected a mean of the shape of a row, {row.shape}, or one that broadcasts to it, received "
                f"{self.mean.shape}."
            )
        return row

    def transform(self, rows: NDArray[Any], seed: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[Any]:
        rows -= self.mean.astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Mirror(Transformer):
    """Flips a row's last axis, the width of an image, with the given probability. It draws anew in each epoch.

    Raises:
        ConfigurationError: `probability` is not from 0 to 1.
        ShapeError: the rows have no axis.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        probability = checks.number("Mirror", "probability", self.probability, low=0.0, high=1.0)
        object.__setattr__(self, "probability", probability)
        object.__setattr__(self, "fixed", probability in (0.0, 1.0))  # all rows are flipped, or none

    def infer(self, row: Spec) -> Spec:
        if not row.shape:
            raise ShapeError("Mirror: expected rows with an axis to flip, such as images, received single numbers.")
        return row

    def transform(self, rows: NDArray[Any], seed: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[Any]:
        flipped = draw(seed, epoch, numbers)[:, 0] < self.probability
        rows[flipped] = rows[flipped][..., ::-1]
        return rows
