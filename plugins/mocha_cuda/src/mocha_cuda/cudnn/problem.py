"""`Problem`: the description of one convolution."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Shape = tuple[int, ...]


class Direction(StrEnum):
    """The tensor of the three that is computed from the other two."""

    FORWARD = "forward"
    """y"""
    BACKWARD_DATA = "backward data"
    """dx from w and dy"""
    BACKWARD_FILTER = "backward filter"
    """dw from x and dy"""


@dataclass(frozen=True)
class Problem:
    """One direction of y[n,k,p,q] = sum over c,u,v of w[k,c,u,v] * x[n, g+c, p*stride + u*dilation - pad, ...].

    x and its gradient (N, C, H, W), w and its gradient (K, C / groups, R, S), y and its gradient (N, K, P, Q); a
    bias (K,). Pairs are (vertical, horizontal).
    """

    direction: Direction
    x: Shape
    w: Shape
    y: Shape
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    dtype: str = "float32"
    """The dtype of all tensors in memory: float32, float64 or bfloat16."""
    bias: bool = False
    """Forward: compute y + bias[k]."""
    relu: bool = False
    """Forward: compute max(0, y), where y includes the bias."""
    add: bool = False
    """Add the result to the contents of the output."""
    channels_last: bool = False
    """x, w and y are in memory with channels last, as (N, H, W, C)."""

    def __str__(self) -> str:
        extras = "".join(f" + {name}" for name in ("bias", "relu") if getattr(self, name))
        shapes = f"x {list(self.x)}, w {list(self.w)}, y {list(self.y)}, stride {self.stride}, pad {self.pad}"
        dilated = f", dilation {self.dilation}" if self.dilation != (1, 1) else ""
        last = ", channels last" if self.channels_last else ""
        name = f"{'adding ' if self.add else ''}{self.direction} convolution{extras}"
        return f"{name} of {self.dtype}: {shapes}{dilated}{last}"
