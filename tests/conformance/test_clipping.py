"""Gradients are clipped before the updates: the ops, and training against plain loops, on every backend."""

import numpy as np
import pytest
from mocha_solvers_std.clipping import ClipNorm, ClipValue

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.compile.program import updates
from mocha_core.errors import ConfigurationError, NonFiniteError
from mocha_core.graph.plan import Section
from mocha_core.plugin.manager import registries
from mocha_core.testing import OpCase, OpTests
from mocha_core.testing.backends import installed, open_any
from mocha_core.testing.inputs import distinct
from mocha_core.train.snapshot import capture, restore


def gradients(*shapes, scale=1.0):
    return [scale * distinct(shape, i) for i, shape in enumerate(shapes)]


def case(op, limit, *shapes, scale=1.0):
    return OpCase(op(limit, len(shapes)), gradients(*shapes, scale=scale))


#: More elements than a chunk of native or a block of cuda has, and no multiple of either.
MANY = (3, 7_001)


def norm_of(arrays):
    return np.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))


class TestClipNorm(OpTests):
    cases = {
        "below the limit": case(ClipNorm, 1e3, (3, 4), (5,)),
        "above": case(ClipNorm, 0.5, (3, 4), (5,)),
        "one": case(ClipNorm, 0.5, (4,)),
        "many": case(ClipNorm, 0.5, MANY, (1,), (2, 3), MANY),
        "two dozen": case(ClipNorm, 0.5, *[(3,)] * 24),
        "squares beyond float32": case(ClipNorm, 2.0, (4, 3), (2,), scale=1e25),
        "zeros": case(ClipNorm, 2.0, (4, 3), scale=0.0),
    }

    def expected(self, op, inputs):
        norm = norm_of(inputs)
        return [norm, *(array * (op.limit / norm if norm > op.limit else 1) for array in inputs)]


class TestClipValue(OpTests):
    cases = {
        "some": case(ClipValue, 0.5, (3, 4), (5,)),
        "none": case(ClipValue, 1e3, (3, 4)),
        "many": case(ClipValue, 0.5, MANY, (1,), MANY),
        "two dozen": case(ClipValue, 0.5, *[(3,)] * 24),
    }

    def expected(self, op, inputs):
        return [np.clip(array, -op.limit, op.limit) for array in inputs]


X, TARGET = distinct((12, 4)), distinct((12, 2), 1)
DTYPES = {"float32": 2e-5, "float64": 1e-12}


def net_on(system, images=X, batch=6, frozen=()):
    data = layers.MemoryDataLayer(name="data", data=[images, TARGET], batch_size=batch, tops=["x", "t"])
    below = layers.InnerProductLayer(name="below", output_dim=3, bottoms=["x"], tops=["h"])
    above = layers.InnerProductLayer(name="above", output_dim=2, bottoms=["h"], tops=["y"])
    net = mocha.Net("net", system, [data, below, above, layers.SquareLossLayer(name="loss", bottoms=["y", "t"])])
    net.freeze(*frozen)
    return net


def parameters(net):
    return {key: state.numpy().astype(np.float64) for key, state in net.states.items()}


def sgd(max_iter, **options):
    return solvers.SGD(mocha.SolverParameters(max_iter=max_iter, **({"lr_policy": 0.1, "regu_coef": 0.01} | options)))


def clipped(given, clip_norm=None, clip_value=None):
    if clip_value is not None:
        return {key: np.clip(g, -clip_value, clip_value) for key, g in given.items()}
    norm = norm_of(given.values())
    return {key: g * min(1, clip_norm / norm) for key, g in given.items()}


def by_hand(start, iterations, accumulate, frozen, **limits):
    """Parameters after SGD with momentum 0.9, weights decayed by L2, from the gradients' formulas."""
    w = dict(start)
    velocity = {key: np.zeros_like(value) for key, value in w.items()}
    at = 0
    for _ in range(iterations):
        total = {key: np.zeros_like(value) for key, value in w.items()}
        for _ in range(accumulate):
            x, t = X[at : at + 6], TARGET[at : at + 6]
            at = (at + 6) % 12
            h = x @ w["below___weight"].T + w["below___bias"]
            dy = (h @ w["above___weight"].T + w["above___bias"] - t) / 6 / accumulate
            dh = dy @ w["above___weight"]
            found = {"above___weight": dy.T @ h, "above___bias": dy.sum(0)}
            found |= {"below___weight": dh.T @ x, "below___bias": dh.sum(0)}
            for key, gradient in found.items():
                total[key] += gradient
        learned = {key: g for key, g in total.items() if key.partition("___")[0] not in frozen}
        for key, gradient in clipped(learned, **limits).items():
            weight = key.endswith("weight")
            rate, decay = (0.1, 2 * 0.01 * w[key]) if weight else (0.2, 0)
            velocity[key] = 0.9 * velocity[key] + rate * (gradient + decay)
            w[key] = w[key] - velocity[key]
    return w


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("frozen", [(), ("below",)])
@pytest.mark.parametrize("limits", [{"clip_norm": 0.3}, {"clip_norm": 1e6}, {"clip_value": 0.05}])
def test_training_is_as_by_hand(backend, dtype, accumulate, frozen, limits):
    with mocha.System(open_any(backend), dtype=dtype, seed=3) as system:
        net = net_on(system, frozen=frozen)
        start = parameters(net)
        sgd(5, accumulate=accumulate, **limits).solve(net)
        found = parameters(net)
    expected = by_hand(start, 5, accumulate, frozen, **limits)
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=DTYPES[dtype], atol=DTYPES[dtype], err_msg=key)
    unclipped = by_hand(start, 5, accumulate, frozen, clip_norm=np.inf)
    assert all(np.array_equal(expected[key], unclipped[key]) for key in expected) == (limits == {"clip_norm": 1e6})


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("limits", [{"clip_norm": 0.3}, {"clip_value": 0.05}])
def test_no_update_is_folded_past_the_clipping(backend, limits):
    with mocha.System(open_any(backend), seed=3) as system:
        program = net_on(system).runs.training_program(sgd(5, **limits))
        written = {bound.step.section for bound in program.bound if updates(bound)}
        assert written == {Section.UPDATE}
        assert Section.EXCHANGE in {bound.step.section for bound in program.bound}


@pytest.mark.parametrize("backend", installed())
def test_resuming_is_exact(backend):
    def straight(system):
        net, solver = net_on(system), sgd(4, clip_norm=0.3)
        solver.solve(net)
        return net, solver

    with mocha.System(open_any(backend), seed=3) as system:
        net, solver = straight(system)
        snapshot = capture(solver, net)
        solver.parameters = sgd(9, clip_norm=0.3).parameters
        solver.solve(net)
        expected = parameters(net)
    with mocha.System(open_any(backend), seed=3) as system:
        net, solver = net_on(system), sgd(9, clip_norm=0.3)
        restore(snapshot, solver, net)
        solver.solve(net)
        for key, array in parameters(net).items():
            assert array.tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("backend", installed())
def test_changed_limits_are_heeded_by_the_next_solve(backend):
    """Programs are compiled anew."""
    with mocha.System(open_any(backend), dtype="float64", seed=3) as system:
        net, solver = net_on(system), sgd(1, momentum=0.0, regu_coef=0.0, clip_norm=0.3)
        for n, limit in enumerate((0.3, 0.1), 1):
            solver.parameters = mocha.SolverParameters(
                max_iter=n, lr_policy=1.0, momentum=0.0, regu_coef=0.0, clip_norm=limit
            )
            before = parameters(net)
            solver.solve(net)
            moved = {key: before[key] - array for key, array in parameters(net).items()}
            rates = {key: 1.0 if key.endswith("weight") else 2.0 for key in moved}
            assert norm_of(moved[key] / rates[key] for key in moved) == pytest.approx(limit, rel=1e-12)


@pytest.mark.parametrize("backend", installed())
@pytest.mark.parametrize("limits", [{"clip_norm": 0.3}, {"clip_value": 0.05}])
def test_gradients_that_overflow_are_found_and_their_cause_is_named(backend, limits):
    """Rows so large that the gradient of the first layer overflows, although the objective does not."""
    images = np.array(X)
    images[6:] = 1e30
    with mocha.System(open_any(backend), seed=3) as system:
        net = net_on(system, images)
        for key in ("weight", "bias"):
            net.parameters["below"][key].set(np.zeros(net.parameters["below"][key].value.shape))
        net.parameters["above"]["weight"].set(np.full((2, 3), 1e15))
        solver = sgd(5, lr_policy=0.0, **limits)
        with pytest.raises(NonFiniteError, match="Layer 'below' made the gradient of parameter 'weight' not finite"):
            solver.solve(net)
        assert solver.state.iteration == 1
        assert net.runs.half_updated == ("clip_value" in limits)
        assert all(np.isfinite(array).all() for array in parameters(net).values())


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_without_the_plugin_that_clips_nothing_is_ignored(monkeypatch, name):
    with mocha.System(open_any("reference"), seed=3) as system:
        net, solver = net_on(system), sgd(1, **{name: 0.5})
        monkeypatch.setattr(registries().ops, "_by_name", {})
        with pytest.raises(ConfigurationError, match=rf"SolverParameters\({name}=0.5\): .*mocha-solvers-std"):
            solver.solve(net)


def test_limits_that_make_no_sense_are_refused():
    for name in ("clip_norm", "clip_value"):
        for limit in (0, 0.0, -1, "x", np.nan, np.inf, True):
            with pytest.raises(ConfigurationError, match=name):
                mocha.SolverParameters(max_iter=1, **{name: limit})
    with pytest.raises(ConfigurationError, match="either clip_norm or clip_value"):
        mocha.SolverParameters(max_iter=1, clip_norm=1.0, clip_value=1.0)
