"""`ConvolutionLayer` and its op: cross-correlation with learned filters, in groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from mocha_core.api import (
    Array,
    Arrays,
    Builder,
    ConfigurationError,
    Gradients,
    Initializer,
    Namespace,
    Op,
    Regularizer,
    ShapeError,
    Spec,
    TrainableLayer,
    Value,
    checks,
)
from mocha_layers_std import fields, received
from mocha_layers_std.initializers import ConstantInitializer, XavierInitializer
from mocha_layers_std.regularizers import L2Regu, NoRegu


class Convolution(Op):
    """y[n,f,i,j] = b[f] + sum over c,u,v of w[f,c,u,v] * x[n, g*C/G + c, i*sh + u - ph, j*sw + v - pw].

    x (N, C, H, W) is zero outside the image; w is (F, C/G, kh, kw), b is (F,); filter f belongs to group
    g = f // (F/G) of G. y is (N, F, oh, ow) with oh = floor((H + 2 ph - kh) / sh) + 1, and ow likewise.
    The reference unfolds x into columns and multiplies matrices, one per sample and group.
    """

    name = "convolution"
    backward_reads = ("x0", "x1")
    kernel: tuple[int, int]
    """(width, height), as are stride and pad."""
    stride: tuple[int, int]
    pad: tuple[int, int]
    n_group: int

    def infer(self, x: Spec, w: Spec, b: Spec) -> tuple[Spec, ...]:
        received.images(x)
        received.floating(x, w, b)
        (kw, kh), n_filter = self.kernel, b.size
        rows, columns = self._size(x.shape)
        if rows < 1 or columns < 1:
            raise ShapeError(
                f"expected images of at least {kw}x{kh} (width x height, padding included) for that kernel, "
                f"received {x} with pad {self.pad}. Use a smaller kernel or more padding."
            )
        if any(size + 2 * pad > checks.MOST for size, pad in zip(x.shape[2:], reversed(self.pad))):
            raise ShapeError(
                f"expected at most {checks.MOST} elements along an axis, padding included, received {x} with pad "
                f"{self.pad}. Use less padding."
            )
        expected = (n_filter, x.shape[1] // self.n_group, kh, kw)
        if x.shape[1] % self.n_group or n_filter % self.n_group or w.shape != expected:
            raise ShapeError(
                f"expected channels and filters in {self.n_group} equal groups, and filters of shape "
                f"{expected}; received {x.shape[1]} channels and {n_filter} filters of shape {w.shape}."
            )
        return (Spec((x.shape[0], n_filter, rows, columns), x.dtype),)

    def forward(self, xp: Namespace, x: Array, w: Array, b: Array) -> Array:
        columns = self._unfold(xp, x)
        y = xp.matmul(self._grouped(xp, w), columns)
        return xp.reshape(y, (x.shape[0], b.shape[0], *self._size(x.shape))) + xp.reshape(b, (1, -1, 1, 1))

    def backward(self, xp: Namespace, dy: Arrays, x: Arrays, y: Arrays, wanted: Sequence[bool]) -> Gradients:
        image, w, (top,) = x[0], x[1], dy
        positions = top.shape[2] * top.shape[3]
        grouped = xp.reshape(top, (top.shape[0], self.n_group, -1, positions))
        dx = dw = db = None
        if wanted[0]:
            columns = xp.matmul(xp.permute_dims(self._grouped(xp, w), (0, 2, 1)), grouped)
            dx = self._fold(xp, columns, image)
        if wanted[1]:
            columns = xp.permute_dims(self._unfold(xp, image), (0, 1, 3, 2))
            dw = xp.reshape(xp.sum(xp.matmul(grouped, columns), axis=0), w.shape)
        if wanted[2]:
            db = xp.sum(top, axis=(0, 2, 3))
        return dx, dw, db

    def _size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of the output for an input of `shape`."""
        width, height = (
            (size + 2 * pad - kernel) // stride + 1
            for size, kernel, stride, pad in zip((shape[3], shape[2]), self.kernel, self.stride, self.pad)
        )
        return height, width

    def _grouped(self, xp: Namespace, w: Array) -> Array:
        """Filters as (groups, filters of a group, elements of a filter)."""
        return xp.reshape(w, (self.n_group, w.shape[0] // self.n_group, -1))

    def _windows(self, shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
        """For each kernel offset, row by row, the pixels of the padded image at this offset of the windows."""
        (kw, kh), (sw, sh), (rows, columns) = self.kernel, self.stride, self._size(shape)
        return [
            (slice(u, u + (rows - 1) * sh + 1, sh), slice(v, v + (columns - 1) * sw + 1, sw))
            for u in range(kh)
            for v in range(kw)
        ]

    def _unfold(self, xp: Namespace, x: Array) -> Array:
        """Columns (N, groups, elements of a filter, output positions) of an image."""
        (pw, ph), (n, c, height, width) = self.pad, x.shape
        padded = xp.zeros((n, c, height + 2 * ph, width + 2 * pw), dtype=x.dtype)
        padded[:, :, ph : ph + height, pw : pw + width] = x
        taps = [padded[:, :, rows, columns] for rows, columns in self._windows(x.shape)]
        rows, columns = self._size(x.shape)
        return xp.reshape(xp.stack(taps, axis=2), (n, self.n_group, c // self.n_group * len(taps), rows * columns))

    def _fold(self, xp: Namespace, columns: Array, x: Array) -> Array:
        """The adjoint of `_unfold`: adds columns back to the pixels that they came from."""
        (pw, ph), (n, c, height, width), windows = self.pad, x.shape, self._windows(x.shape)
        taps = xp.reshape(columns, (n, c, len(windows), *self._size(x.shape)))
        padded = xp.zeros((n, c, height + 2 * ph, width + 2 * pw), dtype=x.dtype)
        for tap, (rows, cols) in enumerate(windows):
            padded[:, :, rows, cols] += taps[:, :, tap, :, :]
        return padded[:, :, ph : ph + height, pw : pw + width]


class ConvolutionLayer(TrainableLayer):
    """Cross-correlates images with `n_filter` learned filters, and adds a bias.

    Bottoms: one or more (N, channels, height, width), with equal numbers of channels; they share the parameters.
    Tops: as many, (N, n_filter, floor((size + 2 pad - kernel) / stride) + 1 each way).
    Parameters: `filter` (n_filter, channels / n_group, kernel height, kernel width) and `bias` (n_filter,).
    """

    n_filter: int
    kernel: tuple[int, int] | int
    """(width, height), as are stride and pad; one integer gives both."""
    stride: tuple[int, int] | int = (1, 1)
    pad: tuple[int, int] | int = (0, 0)
    n_group: int = 1
    """The number of groups of channels and filters. A filter sees the channels of its own group."""
    filter_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0)
    filter_regu: Regularizer | None = L2Regu(1)
    bias_regu: Regularizer | None = NoRegu()
    filter_lr: float = 1.0
    """The factor on the solver's learning rate."""
    bias_lr: float = 2.0

    def check(self) -> None:
        super().check()
        fields.one_top_each(self)
        fields.learning(self, "filter", "bias")
        for field in ("n_filter", "n_group"):
            self.replace_field(field, checks.integer(self, field, getattr(self, field), at_most=checks.MOST))
        for field in ("kernel", "stride"):
            self.replace_field(field, checks.pair(self, field, getattr(self, field)))
        self.replace_field("pad", checks.pair(self, "pad", self.pad, at_least=0))
        if self.n_filter % self.n_group:
            raise ConfigurationError(
                f"{self}: expected n_filter to be a multiple of n_group, received n_filter {self.n_filter} "
                f"and n_group {self.n_group}."
            )

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        received.image_blobs(b, *bottoms)
        channels = bottoms[0].shape[1]
        if channels % self.n_group:
            raise ShapeError(
                f"expected the number of channels to be a multiple of n_group {self.n_group}, received "
                f"{bottoms[0].spec}."
            )
        width, height = kernel = fields.pair(self.kernel)
        shape = (self.n_filter, channels // self.n_group, height, width)
        w = b.param("filter", shape, self.filter_init, self.filter_regu, multiplier=self.filter_lr)
        bias = b.param("bias", (self.n_filter,), self.bias_init, self.bias_regu, multiplier=self.bias_lr)
        op = Convolution(kernel, fields.pair(self.stride), fields.pair(self.pad), self.n_group)
        return tuple(b.call(op, bottom, w, bias)[0] for bottom in bottoms)
