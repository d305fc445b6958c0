"""Nets in words: the architecture, and a summary with shapes, parameters and bytes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mocha_core.describe.parameter import Parameter
from mocha_core.graph.value import nbytes

if TYPE_CHECKING:
    from mocha_core.net.runs import Runs

WIDTH = 60


class Text(str):
    """Lines of text that a prompt and a notebook show without quotes or escapes."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self)}</pre>"


def architecture(runs: Runs) -> Text:
    """The layers with the blobs between them, as Mocha prints a net."""
    lines = ["*" * WIDTH, f"          NAME: {runs.name}", f"       BACKEND: {runs.system.backend.name}"]
    lines += [f"  ARCHITECTURE: {len(runs.recorder.layers)} layers", "." * WIDTH]
    for layer in runs.recorder.layers:
        lines.append(f" *** {type(layer).__name__}({layer.name})")
        for title, names in (("Inputs", layer.bottoms), ("Outputs", layer.tops)):
            if names:
                lines.append(f"    {title} ".ljust(WIDTH - 20, "-"))
                lines += [f"    {name:>12}: {_shape(runs.plan.blobs[name].shape)}" for name in names]
    return Text("\n".join([*lines, "*" * WIDTH]))


def parameter_count(runs: Runs) -> int:
    """How many numbers the net learns."""
    return sum(p.value.spec.size for p in runs.recorder.parameters())


def summary(runs: Runs) -> Text:
    """A table: layer, kind, output shapes, parameters; then the bytes of parameters and programs."""
    owned = runs.recorder.owned
    rows = [("layer", "kind", "tops", "parameters")]
    for layer in runs.recorder.layers:
        shapes = ", ".join(f"{name} {_shape(runs.plan.blobs[name].shape)}" for name in layer.tops)
        count = sum(s.value.spec.size for s in owned.get(layer.name, {}).values() if isinstance(s, Parameter))
        rows.append((layer.name, type(layer).__name__, shapes, f"{count:,}" if count else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[3]]).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    size = sum(nbytes(s.value.spec) for s in runs.recorder.states().values())
    lines.append(f"{parameter_count(runs):,} parameters, {size:,} bytes")
    lines += [
        f"program {use}, batch {program.plan.batch}: {len(program.bound)} steps, {program.memory.total:,} bytes"
        for use, program in runs.programs()
    ]
    return Text("\n".join(lines))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
