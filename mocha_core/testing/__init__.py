"""The conformance kit: the checks that a plugin's layers, ops and kernels have to pass.

In a REPL, `check_layer(layer, (4, 3))` raises what is wrong. In tests, subclass `LayerTests` and `OpTests`,
which need pytest. Nothing of it is loaded by pytest on its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.layer_checks import LayerCase, check_layer
from mocha_core.testing.op_case import OpCase
from mocha_core.testing.tolerances import TOLERANCES, assert_close

if TYPE_CHECKING:
    from mocha_core.testing.layer_tests import LayerTests
    from mocha_core.testing.op_tests import OpTests

__all__ = [
    "TOLERANCES", "LayerCase", "LayerTests", "OpCase", "OpTests", "assert_close", "check_layer",
    "numeric_gradient",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = {"LayerTests": "layer_tests", "OpTests": "op_tests"}.get(name)
    if module is None:
        raise AttributeError(f"module 'mocha_core.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_core.testing.{module}"), name)
