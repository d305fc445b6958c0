"""The conformance kit: the checks that a plugin's layers, ops and kernels have to pass.

In a REPL, `check_layer(layer, (4, 3))` raises what is wrong. In tests, subclass `LayerTests` and `OpTests`,
which need pytest. Nothing of it is loaded by pytest on its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mocha_core.testing.backends import ReferenceBackend as ReferenceBackend
    from mocha_core.testing.backends import StrictBackend as StrictBackend
    from mocha_core.testing.gradients import numeric_gradient as numeric_gradient
    from mocha_core.testing.layer_checks import LayerCase as LayerCase
    from mocha_core.testing.layer_checks import check_layer as check_layer
    from mocha_core.testing.layer_tests import LayerTests as LayerTests
    from mocha_core.testing.op_checks import OpCase as OpCase
    from mocha_core.testing.op_tests import OpTests as OpTests
    from mocha_core.testing.tolerances import TOLERANCES as TOLERANCES
    from mocha_core.testing.tolerances import assert_close as assert_close

_NAMES = {
    "LayerCase": "layer_checks",
    "LayerTests": "layer_tests",
    "OpCase": "op_checks",
    "OpTests": "op_tests",
    "ReferenceBackend": "backends",
    "StrictBackend": "backends",
    "TOLERANCES": "tolerances",
    "assert_close": "tolerances",
    "check_layer": "layer_checks",
    "numeric_gradient": "gradients",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'mocha_core.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mocha_core.testing.{_NAMES[name]}"), name)
