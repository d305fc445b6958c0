from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_coffee(coffee: Registry) -> None:
    coffee.add("ParameterNorms", "acme_coffee.parameter_norms:ParameterNorms")
