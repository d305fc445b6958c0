"""Updates that are folded into the gradients of inner products: the same results, the same refusals."""

import dataclasses

import numpy as np
import pytest
from mocha_native.backend import NativeBackend
from nets import assert_same, data, parameters, perceptron

import mocha_core as mocha
from mocha_core import layers, neurons, regularizers, solvers
from mocha_core.errors import NonFiniteError, StateError
from mocha_core.testing.tolerances import assert_close


def folded(net, solver):
    """How many parameters are updated in the step of a gradient, by layer."""
    steps = [bound.step.call for bound in net.runs.training_program(solver).bound]
    return {call.layer: len(call.op.rules) for call in steps if call.op.name == "native.updating_backward"}


def trained(backend, body, dtype="float32", batch=16, solve=True, **more):
    """What is folded, and parameters and velocities after training."""
    with mocha.System(backend, seed=2, dtype=dtype) as system:
        net = mocha.Net("net", system, [data(batch), *body])
        solver = solvers.SGD(parameters(8, **more))
        solver.solve(net)
        arrays = {f"{layer}.{name}": p.numpy() for layer, group in net.parameters.items() for name, p in group.items()}
        arrays |= {name: system.read(value) for name, value in solver.memories(net).items()}
        return folded(net, solver), arrays


def check(body, expected, **more):
    """What is expected is folded, with the same bytes for any number of threads and the same values as without."""
    found, arrays = trained(NativeBackend(threads=1), body, **more)
    assert found == expected
    for threads in (2, 3):
        assert_same(arrays, trained(NativeBackend(threads=threads), body, **more)[1])
    nothing, apart = trained(NativeBackend(threads=1, fuse=False), body, **more)
    assert nothing == {}
    for name, array in apart.items():
        assert_close(name, arrays[name], array, 1e-12 if more.get("dtype") == "float64" else 2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [3, 16, 37])
def test_weight_and_bias_are_updated_in_the_step_of_their_gradients(isa, dtype, batch):
    check(perceptron(), {"h": 2, "g": 2, "y": 2}, dtype=dtype, batch=batch)


def test_regularizers_and_learning_rates_of_parameters():
    head = {"output_dim": 10, "bottoms": ["h"], "tops": ["y"], "bias_lr": 2.0, "weight_lr": 0.5}
    body = [
        layers.InnerProductLayer(
            name="h", output_dim=67, neuron=neurons.ReLU(), weight_regu=regularizers.L1Regu(0.01), bottoms=["data"],
            tops=["h"],
        ),
        layers.InnerProductLayer(name="y", bias_regu=regularizers.L2Regu(0.1), **head),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]  # fmt: skip
    check(body, {"h": 2, "y": 2}, regu_coef=0.1)


class OwnRegu(regularizers.L2Regu):
    """What a user wrote has no compiled kernel."""


def test_an_update_that_is_not_compiled_stays_by_itself():
    body = [
        layers.InnerProductLayer(name="y", output_dim=10, weight_regu=OwnRegu(0.1), bottoms=["data"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    check(body, {"y": 1})


def test_accumulated_gradients_are_updated_at_the_end():
    check(perceptron(), {}, accumulate=2)


def test_parameters_that_two_layers_share_are_updated_at_the_end():
    inner = layers.InnerProductLayer(name="a", output_dim=144, bottoms=["data"], tops=["a"], param_key="shared")
    body = [
        inner,
        dataclasses.replace(inner, name="b", bottoms=["a"], tops=["b"]),
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["b"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    check(body, {"y": 2})


def test_a_batch_whose_gradient_comes_in_several_parts():
    body = [
        layers.InnerProductLayer(name="y", output_dim=10, bottoms=["data"], tops=["y"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=["y", "label"]),
    ]
    most = NativeBackend().isa.constants["inner_product_rows"]
    check(body, {"y": 2}, batch=40)
    check(body, {}, batch=most + 1)


@pytest.mark.parametrize("which", ["weight_lr", "bias_lr"])
@pytest.mark.parametrize("layer", ["h", "y"])
def test_an_update_that_overflows_is_refused(isa, which, layer):
    body = [dataclasses.replace(made, **{which: 1e38}) if made.name == layer else made for made in perceptron() if made]
    left = []
    for threads in (1, 2, 3):
        with mocha.System(NativeBackend(threads=threads), seed=2) as system:
            net = mocha.Net("net", system, [data(), *body])
            solver = solvers.SGD(mocha.SolverParameters(max_iter=9, lr_policy=100.0))
            parameter = rf"the update of parameter '{layer}\.{which.removesuffix('_lr')}' is not finite"
            with pytest.raises(NonFiniteError, match=parameter):
                solver.solve(net)
            assert all(folded(net, solver).values())
            arrays = {name: state.numpy() for name, state in net.states.items()}
            assert all(np.isfinite(array).all() for array in arrays.values())
            if layer == "h":  # the last one; the others are updated before it
                with pytest.raises(StateError, match="one update ahead"):
                    solver.solve(net)
            left.append(arrays)
    for other in left[1:]:
        assert_same(left[0], other)


def test_nothing_is_updated_where_the_objective_is_not_finite():
    with mocha.System(NativeBackend(threads=2), seed=2) as system:
        net = mocha.Net("net", system, [data(), *perceptron()])
        net.parameters["y"]["bias"].set(np.full(10, np.nan))
        before = {name: state.numpy() for name, state in net.states.items()}
        with pytest.raises(NonFiniteError, match="objective"):
            solvers.SGD(parameters(9)).solve(net)
        assert not net.runs.half_updated
        assert_same(before, {name: state.numpy() for name, state in net.states.items()})
