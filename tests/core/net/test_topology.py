"""The order of layers, and the errors of nets that are none."""

from random import Random

import pytest
from toys import nets
from toys.inner_product import InnerProductLayer
from toys.plain import Plain
from toys.relu import ReluLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.errors import TopologyError
from mocha_core.net.topology import sort


def dense(bottom, top, name=""):
    return InnerProductLayer(name=name or top, output_dim=3, bottoms=[bottom], tops=[top])


def in_place(blob, name):
    return ReluLayer(name=name, bottoms=[blob], tops=[blob])


DATA = nets.data()


def names(layers):
    return [layer.name for layer in sort("net", layers)]


def failing(layers, message):
    with pytest.raises(TopologyError, match=message):
        sort("net", layers)


def test_waves_of_ready_layers_in_the_order_listed():
    layers = [dense("a", "c"), dense("data", "b"), SquareLossLayer(bottoms=["c", "target"]), dense("data", "a"), DATA]
    assert names(layers) == ["data", "b", "a", "c", "square-loss"]


def test_any_order_gives_a_net_that_computes_the_same():
    layers = [DATA, *nets.body(dropout=False), *nets.losses()]
    seen = []
    for order in (layers, layers[::-1]):
        with mocha.System(Plain(), seed=3) as system:
            seen.append(mocha.Net("net", system, order).forward())
    renamed_in_place = layers[::-1]
    assert renamed_in_place[0] is not layers[0]
    assert seen[0] == seen[1]


def test_in_place_layers_run_in_the_order_listed_before_other_readers():
    layers = [dense("x", "y"), in_place("x", "second"), DATA, in_place("x", "first"), dense("data", "x")]
    assert names(layers) == ["data", "x", "second", "first", "y"]


def test_duplicate_top():
    failing([DATA, dense("data", "x"), dense("data", "x", "other")], r"duplicated output blob name: 'x' is a top of")


def test_duplicate_top_within_a_layer():
    twice = nets.MemoryLayer(name="d", batch_size=1, arrays=nets.rows(2)[:2], tops=("a", "a"))
    failing([twice], r"duplicated output blob name: 'a'")


def test_duplicate_layer_name():
    failing([DATA, dense("data", "x", "n"), dense("data", "y", "n")], r"two layers are named 'n'.*its own name")


def test_the_same_layer_twice():
    x = dense("data", "x")
    failing([DATA, x, x], r"InnerProductLayer\(x\) is listed twice.*dataclasses.replace")


def test_missing_bottom_with_a_hint():
    failing([DATA, dense("dta", "x")], r"input blob missing: bottom 'dta' of InnerProductLayer\(x\).*mean 'data'\?")
    failing([DATA, dense("zzzzz", "x")], r"bottom 'zzzzz'.*The net makes: data, label, target, x\.")


def test_cycle():
    layers = [DATA, dense("b", "a"), dense("a", "b"), dense("data", "c")]
    failing(layers, r"cycle.*InnerProductLayer\(a\), InnerProductLayer\(b\)\. .*rename")


def test_a_layer_that_reads_what_it_makes_needs_another_maker():
    failing([DATA, in_place("x", "loop")], "input blob missing: bottom 'x'")


def test_no_layers():
    failing([], "Net 'net' has no layers")


def test_something_that_is_no_layer():
    failing([DATA, "conv1"], "expected layers, received 'conv1'")
    failing([InnerProductLayer], "expected layers, received <class")


def waves(layers):
    """The definition of the order, in loops: of those that are left, all whose needs are done, in the order listed."""
    changes = {blob: [layer for layer in layers if blob in layer.bottoms and blob in layer.tops] for blob in "abcdefgh"}

    def needs(layer):
        for other in layers:
            for blob in set(layer.bottoms) & set(other.tops):
                before = changes.get(blob, [])
                if other not in before or layer not in before or before.index(other) < before.index(layer):
                    yield other

    done, waiting = [], list(layers)
    while waiting:
        ready = [layer for layer in waiting if all(need in done or need is layer for need in needs(layer))]
        assert ready
        done += ready
        waiting = [layer for layer in waiting if layer not in ready]
    return done


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_random_nets_is_that_of_the_definition(seed):
    random = Random(seed)
    made, layers = ["data"], [DATA]
    for i, blob in enumerate("abcdefgh"):
        layers.append(dense(random.choice(made), blob))
        made.append(blob)
        layers += [in_place(blob, f"{blob}{i}{j}") for j in range(random.randrange(3))]
        loss = SquareLossLayer(name=f"loss {blob}", bottoms=[random.choice(made), random.choice(made)])
        layers.append(loss)
    random.shuffle(layers)
    assert sort("net", layers) == waves(layers)


def test_long_chains_in_any_order():
    chain = [DATA, *(ReluLayer(bottoms=[f"x{i}" if i else "data"], tops=[f"x{i + 1}"]) for i in range(10_000))]
    assert sort("net", chain[::-1]) == chain
    in_place_chain = [DATA, *(in_place("data", f"n{i}") for i in range(10_000))]
    assert sort("net", in_place_chain) == in_place_chain
