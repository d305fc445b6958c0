"""The registrations of this distribution. This module imports nothing but the core's marker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl
from mocha_solvers_std import COFFEE, SOLVERS

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_solvers(solvers: Registry) -> None:
    for name, module in SOLVERS.items():
        solvers.add(name, f"mocha_solvers_std.{module}:{name}")


@hookimpl
def mocha_register_coffee(coffee: Registry) -> None:
    for name, module in COFFEE.items():
        coffee.add(name, f"mocha_solvers_std.{module}:{name}")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    ops.add("clip_norm", "mocha_solvers_std.clipping:ClipNorm")
    ops.add("clip_value", "mocha_solvers_std.clipping:ClipValue")
    ops.add("sgd", "mocha_solvers_std.sgd:SGDUpdate")
