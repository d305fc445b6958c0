"""The conformance kit: tests that every plugin has to pass. It has one class to subclass for each kind of plugin:

- `LayerTests`: layers. In a REPL, `check_layer(layer, (4, 3))` raises an error for a wrong layer.
- `OpTests`: ops, and every kernel that is registered for them.
- `BackendTests`: backends.
- `SolverTests`: solvers and their update ops.
- `CoffeeBreakTests`: coffee breaks.
- `FormatTests`: formats of networks and snapshots.
- `PluginTests`: the distribution that brings any of these.

The docstring of each class lists the attributes to set and shows an example. Standard tests cannot be replaced; list a
test that is known to fail in `xfail` with the reason. The classes need pytest and, for the strict array namespace,
array-api-strict: `pip install 'mocha-core[testing]'`. `mocha_core.testing.pytest_plugin` is optional: pytest loads it
only if a `conftest.py` names it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mocha_core.testing.gradients import numeric_gradient
from mocha_core.testing.layer_case import LayerCase
from mocha_core.testing.layer_checks import check_layer
from mocha_core.testing.op_case import OpCase
from mocha_core.testing.tolerances import TOLERANCES, assert_close

if TYPE_CHECKING:
    from mocha_core.testing.backend_tests import BackendTests
    from mocha_core.testing.coffee_break_tests import CoffeeBreakTests
    from mocha_core.testing.format_tests import FormatTests
    from mocha_core.testing.layer_tests import LayerTests
    from mocha_core.testing.op_tests import OpTests
    from mocha_core.testing.plugin_tests import PluginTests
    from mocha_core.testing.solver_tests import SolverTests

__all__ = [
    "TOLERANCES", "BackendTests", "CoffeeBreakTests", "FormatTests", "LayerCase", "LayerTests", "OpCase", "OpTests",
    "PluginTests", "SolverTests", "assert_close", "check_layer", "numeric_gradient",
]  # fmt: skip

#: The modules of the test classes, which need pytest.
TEST_CLASSES = {
    "BackendTests": "backend_tests", "CoffeeBreakTests": "coffee_break_tests", "FormatTests": "format_tests",
    "LayerTests": "layer_tests", "OpTests": "op_tests", "PluginTests": "plugin_tests", "SolverTests": "solver_tests",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in TEST_CLASSES:
        raise AttributeError(f"module 'mocha_core.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_core.testing.{TEST_CLASSES[name]}"), name)
