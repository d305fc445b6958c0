from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_solvers(solvers: Registry) -> None:
    solvers.add("AcmeNesterov", "acme_solver.nesterov:AcmeNesterov")


@hookimpl
def mocha_register_ops(ops: Registry) -> None:
    ops.add("acme.nesterov", "acme_solver.nesterov:AcmeNesterovUpdate")
