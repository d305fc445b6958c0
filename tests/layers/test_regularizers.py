import array_api_strict as strict
import numpy as np
import pytest
from mocha_layers_std import L1Regu, L2Regu, NoRegu

from mocha_core.errors import ConfigurationError


@pytest.mark.parametrize("xp", [np, strict])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("regularizer", "gradient"),
    [(L2Regu(250), lambda w: 2 * 250 * w), (L1Regu(0.3), lambda w: 0.3 * np.sign(w)), (NoRegu(), lambda w: None)],
)
def test_formula(regularizer, gradient, dtype, xp):
    w = np.random.default_rng(1).normal(size=(3, 4)).astype(dtype)
    w[0, 0] = 0
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    ours, theirs = regularizer.gradient(xp, xp.asarray(w)), gradient(w)
    if theirs is None:
        assert ours is None
    else:
        assert str(np.asarray(ours).dtype) == dtype
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=tolerance)


def test_regularizers_are_values():
    assert L2Regu(1) == L2Regu(1.0) != L2Regu(2)
    assert L1Regu(1) != L2Regu(1)
    assert len({L2Regu(1), L2Regu(1), NoRegu(), NoRegu()}) == 2


def test_bad_coefficient():
    with pytest.raises(ConfigurationError, match=r"L2Regu: expected coefficient to be a finite number in \[0, inf\]"):
        L2Regu(-1)
