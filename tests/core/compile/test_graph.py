"""Where a fused step may stand: against the execution of random programs, in every order of sections."""

import itertools

import numpy as np
import pytest
from toys.relu import Relu

from mocha_core.compile.step_graph import Graph
from mocha_core.graph.plan import Call, Half, Phase, Plan, Section, Step
from mocha_core.graph.value import Role, Value

SECTIONS = [Section.FORWARD, Section.BACKWARD, Section.UPDATE]
MODULUS = 1_000_003


def step(ins, outs, add, section=Section.FORWARD, layer=""):
    return Step(Call(Relu(), ins, outs, layer), Half.FORWARD, ins, outs, add, section)


def random_steps(random, values, n):
    """Steps with random operands, sections in order; some steps add."""
    sections = sorted(random.integers(0, 3, n))
    steps = []
    for number, section in enumerate(sections):
        ins = tuple(values[i] for i in random.integers(0, len(values), random.integers(0, 3)))
        outs = tuple(values[i] for i in random.choice(len(values), random.integers(1, 3), replace=False))
        flags = tuple(bool(f) for f in random.integers(0, 2, len(outs)))
        steps.append(step(ins, outs, flags, SECTIONS[section], str(number)))
    return steps


def execute(groups, values):
    """Runs groups of steps section by section; a group computes all its steps in their order."""
    memory = {value: i + 1 for i, value in enumerate(values)}
    for section in SECTIONS:
        for group, where in groups:
            if where is section:
                for s in group:
                    salt = sum((i + 2) * memory[v] for i, v in enumerate(s.ins)) + 101 * int(s.call.layer)
                    for i, (out, adds) in enumerate(zip(s.outs, s.add, strict=True)):
                        memory[out] = ((memory[out] if adds else 0) * 31 + salt * (i + 7)) % MODULUS
    return memory


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_a_permitted_place_changes_no_result(first):
    """The new step does in one go what the old ones did, in their order, at the place that the graph gives."""
    for seed in range(first, first + 100):
        random = np.random.default_rng(seed)
        values = [Value(f"v{i}", (1,), "float32", Role.PARAMETER) for i in range(random.integers(3, 9))]
        steps = random_steps(random, values, int(random.integers(3, 8)))
        count = int(random.integers(2, 4))
        old = [steps[i] for i in sorted(random.choice(len(steps), count, replace=False))]
        new = union(old, old[int(random.integers(0, count))].section)
        at = Graph(Plan(Phase.TRAIN, 1, steps=steps), steps).insertion_point(old, new)
        if at is not None:
            groups = [([s], s.section) for s in steps[:at] if s not in old]
            groups += [(old, new.section)]
            groups += [([s], s.section) for s in steps[at:] if s not in old]
            expected = execute([([s], s.section) for s in steps], values)
            assert execute(groups, values) == expected, seed


def union(old, section):
    """A step with the operands of all."""
    reads = tuple(dict.fromkeys(v for s in old for v in s.reads))
    writes = tuple(dict.fromkeys(v for s in old for v in s.writes))
    return step(reads, writes, (False,) * len(writes), section)


def test_most_independent_steps_can_be_joined():
    """The property above is not met by refusing everything."""
    permitted = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        values = [Value(f"v{i}", (1,), "float32", Role.PARAMETER) for i in range(8)]
        steps = random_steps(random, values, 5)
        old = [steps[0], steps[2]]
        permitted += Graph(Plan(Phase.TRAIN, 1), steps).insertion_point(old, union(old, old[0].section)) is not None
    assert permitted > 100


def test_refusal_is_never_needless_for_two_neighbours():
    """Two adjacent steps of one section can always become one."""
    values = [Value(f"v{i}", (1,), "float32") for i in range(3)]
    for reads, writes in itertools.product(itertools.permutations(values, 2), repeat=2):
        steps = [step((reads[0],), (writes[0],), (False,)), step((reads[1],), (writes[1],), (False,))]
        graph = Graph(Plan(Phase.TRAIN, 1), steps)
        assert graph.insertion_point(steps, union(steps, Section.FORWARD)) is not None


def chain():
    """a -> b -> c -> d."""
    a, b, c, d = (Value(name, (1,), "float32") for name in "abcd")
    return (a, b, c, d), [step((x,), (y,), (False,)) for x, y in ((a, b), (b, c), (c, d))]


def test_private_values_may_vanish():
    (a, b, c, _), steps = chain()
    graph = Graph(Plan(Phase.TRAIN, 1), steps)
    assert graph.private(b, steps[1], steps[0])
    assert not graph.private(b, steps[1]), "its maker stays"
    assert not graph.private(c, *steps[:2])
    c.keep = True
    assert not graph.private(c, *steps)
    assert graph.maker(b) is steps[0]
    assert graph.maker(a) is graph.maker(None) is None


def test_views_are_no_way_round():
    """A reader of a view reads the value; a kept base is kept."""
    (_, b, _, _), steps = chain()
    view = Value("view", (1,), "float32", base=b)
    steps.append(step((view,), (Value("e", (1,), "float32"),), (False,)))
    graph = Graph(Plan(Phase.TRAIN, 1), steps)
    assert not graph.private(b, *steps[:2])
    assert graph.private(view, steps[0], steps[1], steps[3])
    b.keep = True
    assert not graph.private(view, *steps)


def test_reasons_are_given_in_words():
    (a, b, c, d), steps = chain()
    graph = Graph(Plan(Phase.TRAIN, 1), steps)
    assert graph.reason_against(steps[:2], step((a,), (c,), (False,))) == ""
    assert (
        graph.reason_against(steps[1:], step((b,), (d,), (False,), Section.UPDATE))
        == "the new step is in another section"
    )
    extra = step((b,), (Value("e", (1,), "float32"),), (False,))
    graph = Graph(Plan(Phase.TRAIN, 1), [*steps, extra])
    assert graph.reason_against(steps[:2], step((a,), (c,), (False,))) == "'b' is used elsewhere"
    graph = Graph(Plan(Phase.TRAIN, 1), steps)
    assert (
        graph.reason_against([steps[0], steps[2]], step((a, c), (b, d), (False, False)))
        == "another step lies between them"
    )


def test_nothing_is_fused_past_an_exchange_or_with_one():
    """Whatever values the exchange step has: it may merge the status, which all updates look at."""
    (a, b, c, d), _ = chain()
    made, updated = step((a,), (b,), (False,), Section.BACKWARD), step((b,), (c,), (False,), Section.UPDATE)
    new = step((a,), (c,), (False,), Section.BACKWARD)
    assert Graph(Plan(Phase.TRAIN, 1), [made, updated]).reason_against([made, updated], new) == ""
    exchange = step((d,), (d,), (False,), Section.EXCHANGE)
    graph = Graph(Plan(Phase.TRAIN, 1), [made, exchange, updated])
    reason = "gradients are exchanged between them"
    assert graph.reason_against([made, updated], new) == reason
    for neighbour in (made, updated):
        for section in (Section.EXCHANGE, neighbour.section):
            union = step((*neighbour.ins, d), (*neighbour.outs, d), (False, False), section)
            assert graph.reason_against([neighbour, exchange], union) == reason
