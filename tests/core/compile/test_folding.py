"""A fusion that folds an update into a weight gradient is refused wherever it would change a result.

The rewrite of the toy never asks whether it may, so every refusal here is the core's.
"""

from dataclasses import replace

import numpy as np
import pytest
from toys import nets
from toys.backends import BACKENDS
from toys.blocked import Blocked
from toys.inner_product import InnerProductLayer
from toys.normal import Normal
from toys.observe import assert_equal, contents, parameters, train
from toys.plugin import Folding
from toys.poison import Poison
from toys.product import Product
from toys.relu import Relu, ReluNeuron
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core import hookimpl
from mocha_core.compile.kernel import Kernel, Reference
from mocha_core.errors import DataError, PluginError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call, Phase, Section
from mocha_core.graph.value import Spec


@pytest.fixture
def folding(register):
    register(Folding(), "mocha-folding")


class PoisonedBlocked(Poison, Blocked):
    pass


def dense(bottom, top, **options):
    return InnerProductLayer(name=top, output_dim=3, bottoms=[bottom], tops=[top], **options)


def chain(**options):
    return [nets.data(), dense("data", "x", **options), dense("x", "y", **options), loss("y")]


def loss(bottom):
    return SquareLossLayer(name=f"loss {bottom}", bottoms=[bottom, "target"])


def folded(net, solver):
    return [u.layer for u in net.runs.training_program(solver).kernels() if u.op == "toy.dot+sgd"]


def run(layers, backend=None, **options):
    """Which layers were folded, and everything after training."""
    with mocha.System(backend or PoisonedBlocked(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        solver = SGD(parameters(**options))
        solver.solve(net)
        return folded(net, solver), contents(net) | {"objective": np.asarray(solver.state.objective)}


def test_an_update_is_folded_and_changes_nothing(folding):
    layers = chain()
    names, seen = run(layers)
    assert names == ["y", "x"]
    assert_equal(seen, train(BACKENDS["plain"](), layers))


def test_folded_updates_are_seen_by_packed_weights(folding):
    """No update section is left for one of the parameters, and still prediction is current."""
    layers = chain()
    predictions = []
    for backend in (Blocked(), BACKENDS["plain"]()):
        with mocha.System(backend, dtype="float64", seed=3) as system:
            net, test = (mocha.Net(name, system, layers) for name in ("train", "test"))
            solver = SGD(parameters(max_iter=1))
            for n in (1, 2):
                predictions.append(test.predict(nets.rows(7)[0], "y"))
                solver.parameters = parameters(max_iter=n)
                solver.solve(net)
            predictions.append(test.predict(nets.rows(7)[0], "y"))
    for one, two in zip(predictions[:3], predictions[3:], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


def test_refused_when_the_parameter_is_tied(folding):
    layers = [nets.data(), dense("data", "h"), dense("h", "a", param_key="w"), dense("a", "b", param_key="w")]
    layers.append(loss("b"))
    names, seen = run(layers)
    assert names == ["h"]
    assert_equal(seen, train(BACKENDS["plain"](), layers))


def test_refused_when_gradients_are_accumulated(folding):
    layers = chain()
    names, seen = run(layers, accumulate=2)
    assert names == []
    assert_equal(seen, train(BACKENDS["plain"](), layers, accumulate=2))


def test_refused_when_sections_run_apart(folding):
    with mocha.System(Blocked(), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, chain())
        plan = net.runs.recorder.record(Phase.TRAIN)
        plan.sectioned = True
        net.runs.recorder.train(plan, SGD(parameters()), frozenset())
        program = system.backend.compile(plan, system.storage)
    assert not [use for use in program.kernels() if use.op == "toy.dot+sgd"]
    assert {b.step.section for b in program.bound} == {Section.FORWARD, Section.BACKWARD, Section.UPDATE}


class Scale(Op):
    """x times the mean of w, which backward reads; w gets no gradient from here."""

    name = "toy.scale"
    backward_reads = ("x1",)
    differentiable = (0,)

    def infer(self, x, w):
        return (x,)

    def forward(self, xp, x, w):
        return x * (1 + xp.mean(w))

    def backward(self, xp, dy, x, y, wanted):
        return dy[0] * (1 + xp.mean(x[1])), None


class ScaledLayer(InnerProductLayer):
    """An inner product whose weight scales its bottom too (`before`), or else its top."""

    before: bool

    def build(self, b, x):
        w = b.param("weight", (self.output_dim, x.shape[1]), Normal())
        if self.before:
            return super().build(b, *b.call(Scale(), x, w))
        return b.call(Scale(), *super().build(b, x), w)


@pytest.mark.parametrize(("before", "expected"), [(True, ["h"]), (False, ["y", "h"])])
def test_refused_when_the_old_weights_are_read_later(folding, before, expected):
    """With `before`, a backward step needs both what the inner product's backward gives and its old weight."""
    scaled = ScaledLayer(name="y", output_dim=3, before=before, bottoms=["h"], tops=["y"])
    layers = [nets.data(), dense("data", "h"), scaled, loss("y")]
    names, seen = run(layers, lr_policy=0.001)
    assert names == expected
    assert_equal(seen, train(BACKENDS["plain"](), layers, lr_policy=0.001))


def test_a_folded_update_does_nothing_after_a_fault(folding):
    bad = list(nets.rows(18))
    bad[1] = bad[1].copy()
    bad[1][13] = 7
    data = nets.MemoryLayer(name="data", batch_size=6, arrays=tuple(bad), tops=("data", "label", "target"))
    layers = [data, dense("data", "x"), dense("x", "y"), SoftmaxLossLayer(name="loss", bottoms=["y", "label"])]
    seen = []
    for backend in (Blocked(), BACKENDS["plain"]()):
        with mocha.System(backend, dtype="float64", seed=3) as system:
            net = mocha.Net("net", system, layers)
            solver = SGD(parameters())
            with pytest.raises(DataError, match=r"Layer 'loss'.*received 7"):
                solver.solve(net)
            assert solver.state.iteration == 2
            seen.append(contents(net))
            assert bool(folded(net, solver)) == isinstance(backend, Blocked)
    assert_equal(*seen)


def test_refused_when_the_new_step_ignores_the_status(register):
    from toys import fold

    def careless(graph, root):
        hit = fold.rewrite(graph, root)
        if hit is None:
            return None
        old, new = hit
        return old, type(new)(new.call, new.half, new.ins[:6], new.outs, new.add, new.section)

    class Careless:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.dot+sgd", "blocked", fold.build)

        @hookimpl
        def mocha_register_fusions(self, fusions):
            fusions.add("toy.sgd", "forward", "blocked", careless)

    register(Careless(), "careless")
    with mocha.System(Blocked(), seed=3) as system:
        for losses in (SoftmaxLossLayer(name="loss", bottoms=["y", "label"]), loss("y")):
            net = mocha.Net("net", system, [*chain()[:3], losses])
            assert folded(net, SGD(parameters())) == []


def test_two_rewrites_of_equal_priority_that_both_apply_are_an_error(folding, register):
    class Another:
        @hookimpl
        def mocha_register_fusions(self, fusions):
            fusions.add("toy.sgd", "forward", "blocked", "toys.fold:rewrite")

    register(Another(), "acme-folding")
    with mocha.System(Blocked(), seed=3) as system:
        net = mocha.Net("net", system, chain())
        with pytest.raises(PluginError, match=r"Several fusions.*'toy.sgd'.*prefer=\{'toy.sgd': 'mocha-folding'\}"):
            SGD(parameters()).solve(net)
    with mocha.System(Blocked(), seed=3, prefer={"toy.sgd": "acme-folding"}) as system:
        net = mocha.Net("net", system, chain())
        assert folded(net, SGD(parameters())) == ["y", "x"]


@pytest.mark.parametrize("again", [lambda step: step, replace], ids=["the same step", "a new step"])
def test_a_fusion_of_its_own_result_is_an_error_and_no_hang(register, again):
    class Endless:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.dot", "plain", "mocha_core.compile.kernel:Reference")

        @hookimpl
        def mocha_register_fusions(self, fusions):
            fusions.add("toy.dot", "forward", "plain", lambda graph, root: ([root], again(root)))

    register(Endless(), "acme-endless")
    with mocha.System("plain", seed=3) as system:
        net = mocha.Net("net", system, chain())
        with pytest.raises(
            PluginError,
            match=r"Layer 'x': fusions replaced op 'toy.dot' again and again.*DISABLED_PLUGINS=acme-endless",
        ):
            SGD(parameters()).solve(net)


@pytest.mark.parametrize("rewritten", [True, "ab", ([], None), "raise"])
def test_a_fusion_that_fails_is_named_with_its_plugin(register, rewritten):
    def rewrite(graph, root):
        return 1 / 0 if rewritten == "raise" else rewritten

    class Broken:
        @hookimpl
        def mocha_register_fusions(self, fusions):
            fusions.add("toy.dot", "forward", "plain", rewrite)

    register(Broken(), "acme-broken")
    with mocha.System("plain", seed=3) as system:
        net = mocha.Net("net", system, chain())
        with pytest.raises(
            PluginError, match=r"Layer 'x': fusion 'toy.dot/forward/plain' of plugin 'acme-broken' failed: "
        ):
            SGD(parameters()).solve(net)


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("bound", [None, "raise"])
def test_a_kernel_that_cannot_be_bound_is_named_with_its_plugin(register, half, bound):
    class Unbound(Reference):
        def bind(self, *operands):
            return 1 / 0 if bound == "raise" else bound

    setattr(Unbound, half, Unbound.bind)

    class Broken:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.dot", "plain", Unbound)

    register(Broken(), "acme-broken")
    with mocha.System("plain", seed=3) as system:
        net = mocha.Net("net", system, chain())
        expected = (
            rf"Layer '[xy]': {half} of kernel 'reference of toy.dot' of plugin 'acme-broken', being bound, failed"
        )
        with pytest.raises(PluginError, match=expected):
            SGD(parameters()).solve(net)


def test_a_kept_value_is_not_fused_away(register):
    """x * x after an inner product as one op: refused where somebody wants to read the product's input."""
    from toys.product import SquareLayer

    from mocha_core.compile.kernel import Kernel
    from mocha_core.graph.plan import Call, forward_step

    class DotSquare(Op):
        name = "toy.dot-square"

        def infer(self, x, w, b):
            return (x,)

        def forward(self, xp, x, w, b):
            raise NotImplementedError

    class DotSquareKernel(Kernel):
        def forward(self, ins, outs, add):
            x, w, b = ins
            return lambda: np.square(x.reshape(len(x), -1) @ w.T + b, out=outs[0])

    def rewrite(graph, root):
        dot = graph.maker(root.ins[0])
        if dot is None or dot.call.op.name != "toy.dot":
            return None
        return [dot, root], forward_step(Call(DotSquare(), dot.call.ins, root.call.outs, dot.call.layer))

    class Plugin:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add("toy.dot-square", "plain", lambda backend, call: DotSquareKernel())

        @hookimpl
        def mocha_register_fusions(self, fusions):
            fusions.add(Product.name, "forward", "plain", rewrite)

    register(Plugin(), "dot-square")
    images = nets.rows(7)[0]
    layers = [nets.data(), dense("data", "x"), SquareLayer(name="s", bottoms=["x"], tops=["s"]), loss("s")]
    with mocha.System(BACKENDS["plain"](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, layers)
        fused = net.predict(images, "s")
        assert "toy.dot-square" in [use.op for use in net.program("s").kernels()]
        net.forward_epoch()
        assert "toy.dot-square" in [use.op for use in net.program().kernels()]
        for use in (net.blobs["x"].numpy, lambda: net.blobs["x"].set(np.zeros((6, 3)))):
            with pytest.raises(mocha.MochaError, match=r"Blob 'x' is not computed by the program.*keep=\['x'\]"):
                use()
        kept = mocha.Net("kept", system, layers, keep=["x"])
        kept.forward_epoch()
        assert "toy.dot-square" not in [use.op for use in kept.program().kernels()]
        np.testing.assert_allclose(kept.blobs["x"].numpy()[:2] ** 2, net.predict(nets.rows()[0], "s")[18:], rtol=1e-12)
        np.testing.assert_array_equal(kept.predict(images, "s"), fused)
        net.forward()
        assert "toy.dot-square" not in [use.op for use in net.program().kernels()], "all blobs can be read"


class BackwardOnly(Relu):
    """What a rewrite makes of a rectifier's backward alone; no reference computes it."""

    name = "toy.relu backward"
    forward = Op.forward


class SavingKernel(Kernel):
    saves = (Spec((1,), "float64"),)


class BackwardFusion:
    @hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("toy.relu backward", "plain", lambda backend, call: SavingKernel())

    @hookimpl
    def mocha_register_fusions(self, fusions):
        def rewrite(graph, root):
            fused = Call(BackwardOnly(), root.call.ins, root.call.outs, root.call.layer)
            return [root], replace(root, call=fused)

        fusions.add("toy.relu", "backward", "plain", rewrite)


def test_a_kernel_that_needs_a_forward_cannot_serve_a_fused_backward(register):
    register(BackwardFusion(), "mocha-backward")
    with mocha.System("plain", dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, chain(neuron=ReluNeuron()))
        net.forward()
        net.backward()
        assert "toy.relu backward" not in {use.op for use in net.program().kernels()}
