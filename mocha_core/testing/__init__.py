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
    from mocha_core.testing.backend_tests import BackendTests
    from mocha_core.testing.format_tests import FormatTests
    from mocha_core.testing.layer_tests import LayerTests
    from mocha_core.testing.op_tests import OpTests
    from mocha_core.testing.plugin_tests import PluginTests
    from mocha_core.testing.solver_tests import SolverTests

__all__ = [
    "TOLERANCES", "BackendTests", "FormatTests", "LayerCase", "LayerTests", "OpCase", "OpTests", "PluginTests",
    "SolverTests", "assert_close", "check_layer", "numeric_gradient",
]  # fmt: skip

#: The modules of the test classes, which need pytest.
TEST_CLASSES = {
    "BackendTests": "backend_tests", "FormatTests": "format_tests", "LayerTests": "layer_tests",
    "OpTests": "op_tests", "PluginTests": "plugin_tests", "SolverTests": "solver_tests",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in TEST_CLASSES:
        raise AttributeError(f"module 'mocha_core.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_core.testing.{TEST_CLASSES[name]}"), name)
