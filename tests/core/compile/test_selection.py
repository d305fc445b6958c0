"""Which kernel serves an op: the backend's ancestry, then priority, then the reference."""

import numpy as np
import pytest
from toys.plain import Plain
from toys.relu import Relu

from mocha_core import hookimpl
from mocha_core.compile.kernel import Kernel, Reference
from mocha_core.compile.selection import Selector
from mocha_core.errors import BackendError, PluginError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Call
from mocha_core.graph.value import Spec, Value
from mocha_core.plugin.manager import Registries


class Mid(Plain):
    name = "mid"


class Nameless(Mid):
    """No name of its own: no family of its own."""


class Leaf(Nameless):
    name = "leaf"


class Labelled(Kernel):
    def __init__(self, text, saves=()):
        self.text, self.saves = text, saves

    label = property(lambda self: self.text)


class Table:
    """Registries with kernels for relu: (family, label, priority, plugin, declines or saves)."""

    def __init__(self, *rows):
        self.registries = Registries()
        for family, label, priority, plugin, accept in rows:
            self.registries.kernels.plugin = plugin
            self.registries.kernels.add(Relu.name, family, self.builder(label, accept), priority=priority)

    def builder(self, label, accept):
        def build(backend, call):
            assert call.op.name == Relu.name
            kernel = Labelled(label, (Spec((1,), "bool"),) if accept == "saves" else ())
            return kernel if accept is True or accept == "saves" else None

        return build

    def choose(self, backend, prefer=None, **options):
        if prefer is not None:
            backend.prefer = prefer
        x, y = (Value(n, (2, 2), "float32") for n in "xy")
        chosen = Selector(backend, self.registries).choose(Call(Relu(), (x,), (y,), "relu1"), **options)
        return None if chosen is None else (chosen.label, chosen.plugin)


def test_families_are_the_names_along_the_ancestry():
    assert Leaf().families() == ["leaf", "mid", "plain"]
    assert Nameless().families() == ["mid", "plain"]


def test_the_nearest_ancestor_wins_whatever_the_priorities():
    table = Table(("plain", "far", 100, "p", True), ("mid", "near", 0, "p", True))
    assert table.choose(Leaf())[0] == "near"
    assert table.choose(Plain())[0] == "far"


def test_the_highest_priority_wins_within_a_family():
    table = Table(("mid", "low", 1, "p", True), ("mid", "high", 2, "q", True), ("mid", "lowest", 0, "r", True))
    assert table.choose(Leaf()) == ("high", "q")


def test_the_next_one_serves_when_one_declines():
    table = Table(("leaf", "a", 5, "p", False), ("leaf", "b", 1, "p", True), ("mid", "c", 9, "p", True))
    assert table.choose(Leaf())[0] == "b"
    table = Table(("leaf", "a", 5, "p", False), ("mid", "c", 0, "p", True))
    assert table.choose(Leaf())[0] == "c"


def test_the_reference_serves_last():
    assert Table().choose(Leaf()) == ("reference of toy.relu", "reference")
    assert Table(("leaf", "a", 0, "p", False)).choose(Leaf())[1] == "reference"
    assert Table(("leaf", "a", 0, "p", False)).choose(Leaf(), reference=False) is None


def test_kernels_for_any_backend_come_after_all_families():
    table = Table(("*", "any", 100, "p", True), ("plain", "plain", 0, "p", True))
    assert table.choose(Leaf())[0] == "plain"
    assert Table(("*", "any", 0, "p", True)).choose(Leaf())[0] == "any"


def test_equal_priorities_are_an_error_that_says_how_to_choose():
    table = Table(("mid", "a", 1, "acme", True), ("mid", "b", 1, "umbrella", True))
    with pytest.raises(
        PluginError, match=r"equal priority 1 serve op 'toy.relu' on backend 'leaf', from acme, umbr.*prefer="
    ):
        table.choose(Leaf())
    assert table.choose(Leaf(), prefer={"toy.relu": "umbrella"}) == ("b", "umbrella")
    with pytest.raises(PluginError, match="Several kernels"):
        table.choose(Leaf(), prefer={"toy.relu": "nobody"})


def test_equal_priorities_in_one_plugin_cannot_be_chosen_between():
    table = Table(("mid", "a", 1, "acme", True), ("mid", "b", 1, "acme", True))
    with pytest.raises(
        PluginError, match=r"cannot choose within a plugin: disable it with MOCHA_DISABLED_PLUGINS=acme\.$"
    ):
        table.choose(Leaf(), prefer={"toy.relu": "acme"})
    third = Table(("mid", "a", 1, "acme", True), ("mid", "b", 1, "acme", True), ("mid", "c", 1, "umbrella", True))
    with pytest.raises(PluginError, match=r"prefer={'toy.relu': 'umbrella'}"):
        third.choose(Leaf())
    assert third.choose(Leaf(), prefer={"toy.relu": "umbrella"}) == ("c", "umbrella")


def test_equal_priorities_are_no_error_when_only_one_accepts():
    table = Table(("mid", "a", 1, "acme", False), ("mid", "b", 1, "umbrella", True))
    assert table.choose(Leaf()) == ("b", "umbrella")


def test_a_kernel_that_saves_cannot_serve_a_backward_alone():
    table = Table(("leaf", "saving", 0, "p", "saves"))
    assert table.choose(Leaf())[0] == "saving"
    assert table.choose(Leaf(), forward_runs=False)[1] == "reference"


def test_no_kernel_and_no_reference_names_what_was_tried():
    class Fused(Op):
        name = "toy.fused"

        def infer(self, x):
            return (x,)

    registries = Registries()
    registries.kernels.plugin = "acme"
    registries.kernels.add("toy.fused", "mid", lambda backend, call: None)
    x, y = (Value(n, (2, 2), "float32") for n in "xy")
    message = r"Layer 'l': no kernel serves op 'toy.fused' on backend 'leaf' \(acme's for 'mid' declined\)"
    with pytest.raises(BackendError, match=message):
        Selector(Leaf(), registries).choose(Call(Fused(), (x,), (y,), "l"))


def test_the_reference_stores_adds_and_zeroes():
    """What is missing from the result counts as zero."""
    x, y = (Value(n, (2,), "float64") for n in "xy")
    kernel = Reference(Plain(), Call(Relu(), (x,), (y,)))
    out = np.array([10.0, 10.0])
    kernel.forward([np.array([-1.0, 2.0])], [out], [True])()
    assert out.tolist() == [10, 12]
    kernel.forward([np.array([-1.0, 2.0])], [out], [False])()
    assert out.tolist() == [0, 2]


def test_programs_list_their_kernels(register):
    class Plugin:
        @hookimpl
        def mocha_register_kernels(self, kernels):
            kernels.add(Relu.name, "plain", lambda backend, call: Reference(backend, call), priority=7)

    from toys import nets

    import mocha_core as mocha

    register(Plugin(), "acme-relu")
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body()])
        net.forward()
        uses = net.program().kernels()
    assert {use.plugin for use in uses if use.op == "toy.relu"} == {"acme-relu"}
    assert {use.plugin for use in uses if use.op == "toy.dot"} == {"reference"}
    assert {use.plugin for use in uses if use.op == "mocha.fetch"} == {"mocha-core"}


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (lambda backend, call: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda backend, call: "fast", "TypeError: expected a Kernel or None, received 'fast'"),
        (lambda backend, call: Labelled, "TypeError: expected a Kernel or None, received <class"),
        (None, "TypeError: 'NoneType' object is not callable"),
    ],
)
def test_a_builder_that_fails_is_named_with_its_plugin(builder, message):
    table = Table()
    table.registries.kernels.plugin = "acme"
    table.registries.kernels.add(Relu.name, "leaf", builder)
    with pytest.raises(PluginError) as caught:
        table.choose(Leaf())
    assert str(caught.value).startswith(f"Layer 'relu1': kernel 'toy.relu/leaf' of plugin 'acme' failed: {message}")
    assert str(caught.value).endswith("MOCHA_DISABLED_PLUGINS=acme.")
