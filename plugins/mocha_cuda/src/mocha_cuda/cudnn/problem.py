"""`Problem`: one convolution that a plan is wanted for, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Shape = tuple[int, ...]


class Direction(StrEnum):
    """Which of the three tensors is computed from the other two."""

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
    """Of everything in memory: float32, float64 or bfloat16."""
    bias: bool = False
    """Forward: y + bias[k]."""
    relu: bool = False
    """Forward: max(0, y), of y with its bias."""
    add: bool = False
    """Add to what is there."""
    channels_last: bool = False
    """All of x, w and y lie in memory as (N, H, W, C) and the like."""

    def __str__(self) -> str:
        extras = "".join(f" + {name}" for name in ("bias", "relu") if getattr(self, name))
        shapes = f"x {list(self.x)}, w {list(self.w)}, y {list(self.y)}, stride {self.stride}, pad {self.pad}"
        dilated = f", dilation {self.dilation}" if self.dilation != (1, 1) else ""
        last = ", channels last" if self.channels_last else ""
        name = f"{'adding ' if self.add else ''}{self.direction} convolution{extras}"
        return f"{name} of {self.dtype}: {shapes}{dilated}{last}"
