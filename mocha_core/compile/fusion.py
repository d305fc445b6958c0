"""Fusion: rewrites that replace several steps by one, where the results stay the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from mocha_core.errors import PluginError
from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Half, Plan, Section, Step
from mocha_core.graph.value import Role, Value
from mocha_core.plugin.registry import Entry

if TYPE_CHECKING:
    from mocha_core.compile.selection import Selector

#: The most rewrites in a chain, each of the result of the one before; a longer chain counts as endless.
MOST_REWRITES = 100
_ORDER = {section: i for i, section in enumerate(Section)}

Rewritten = tuple[list[Step], Step]
#: A rewrite looks at the steps around `root`, and returns the steps to replace and the new one; or None. It need not
#: check whether results stay the same: `Graph.reason_against` does. A new step that updates parameters outside the
#: update section takes the plan's cell "status" as an input, and updates nothing if that is set.
Rewrite = Callable[["Graph", Step], Rewritten | None]


class Graph:
    """The steps of a program, with the questions that a rewrite may ask about them."""

    def __init__(self, plan: Plan, steps: list[Step]) -> None:
        self.plan = plan
        self.steps = steps
        self.position = {step: i for i, step in enumerate(steps)}
        self._writers: dict[Value, list[Step]] = defaultdict(list)
        self._readers: dict[Value, list[Step]] = defaultdict(list)
        for step in steps:
            for value in step.writes:
                self._writers[value.root].append(step)
            for value in step.reads:
                self._readers[value.root].append(step)

    def writers(self, value: Value) -> list[Step]:
        """The steps that write (or add to) a value or a view of it, in order."""
        return self._writers[value.root]

    def readers(self, value: Value) -> list[Step]:
        """The steps that need a value's contents, in order."""
        return self._readers[value.root]

    def maker(self, value: Value | None) -> Step | None:
        """The only step that writes a value; None if there are several, or none."""
        writers = [] if value is None else self.writers(value)
        return writers[0] if len(writers) == 1 else None

    def private(self, value: Value, *inside: Step) -> bool:
        """Whether a value may vanish when the steps `inside` become one: no other step and no user reads it."""
        if value.root.keep or not (value.transient or value.root.role is Role.PARAMETER_GRADIENT):
            return False
        return {*self.readers(value), *self.writers(value)} <= set(inside)

    def reason_against(self, old: list[Step], new: Step) -> str:
        """Why replacing `old` by `new` would change a result; empty if it would not."""
        sections = {step.section for step in old}
        if self.plan.sectioned and len(sections) > 1:
            return "the program's sections run one by one"
        if self.plan.minibatches > 1 and Section.UPDATE in sections and len(sections) > 1:
            return "gradients are added up over several minibatches"
        if new.section not in sections:
            return "the new step is in another section"
        if len(sections) > 1 and self._exchanges_between(sections):
            return "gradients are exchanged between them"
        status = self.plan.cells.get(Cell.STATUS)
        if Section.UPDATE in sections and new.section is not Section.UPDATE and status not in (None, *new.ins):
            return "the new step would update after a fault, because it does not read the status cell"
        kept = {value.root for value in new.writes}
        for step in old:
            for value in step.writes:
                if value.root not in kept and not self.private(value, *old):
                    return f"'{value.name}' is used elsewhere"
        if self.insertion_point(old, new) is None:
            return "another step lies between them"
        return ""

    def _exchanges_between(self, sections: Set[Section]) -> bool:
        """Whether there are exchange steps, and these sections do not all lie on one side of them.

        An update that moved before an exchange would use gradients, or a status, of this process only; an exchange step
        that moved into another section would not run after a fault.
        """
        places = [_ORDER[section] for section in sections]
        crossed = min(places) <= _ORDER[Section.EXCHANGE] <= max(places)
        return crossed and any(step.section is Section.EXCHANGE for step in self.steps)

    def insertion_point(self, old: list[Step], new: Step) -> int | None:
        """The position at which `new` can replace `old` without passing a reader, writer or section; None if none."""
        positions = [self.position[step] for step in old]
        low, high = min(positions), max(positions) + 1
        for at in range(low, max(positions) + 1):
            step = self.steps[at]
            if step in old:
                continue
            if _ORDER[step.section] > _ORDER[new.section]:
                high = min(high, at)
            if _ORDER[step.section] < _ORDER[new.section]:
                low = max(low, at + 1)
            if any(self._conflict(o, step) for o in old if self.position[o] < at) or (
                self._conflict(new, step) and not any(self._conflict(o, step) for o in old if self.position[o] > at)
            ):
                high = min(high, at)
            if any(self._conflict(step, o) for o in old if self.position[o] > at):
                low = max(low, at + 1)
        return low if low <= high else None

    def _conflict(self, first: Step, second: Step) -> bool:
        """Whether the order of two steps matters. It does not if both only report faults: either may be the first."""
        status = {self.plan.cells.get(Cell.STATUS)}
        first_writes = {v.root for v in first.writes} - status
        second_writes = {v.root for v in second.writes} - status
        return bool(
            first_writes & ({v.root for v in second.reads} | second_writes)
            or second_writes & {v.root for v in first.reads}
        )


def fuse(plan: Plan, selector: Selector) -> list[Step]:
    """The plan's steps after every registered rewrite that applies and whose kernel accepts.

    Raises:
        PluginError: two rewrites of equal priority both apply to one step; one fails; or they never end.
    """
    graph = Graph(plan, list(plan.steps))
    rewrites: dict[Step, int] = defaultdict(int)  # the length of the chain of rewrites that led to a step
    while rewritten := next(filter(None, (_rewrite(graph, root, selector) for root in graph.steps)), None):
        old, new = rewritten
        rewrites[new] = 1 + max(rewrites[step] for step in old)
        if rewrites[new] > MOST_REWRITES:
            raise PluginError(_endless(old, new, selector))
        at = graph.insertion_point(old, new)
        before, after = ([s for s in part if s not in old] for part in (graph.steps[:at], graph.steps[at:]))
        graph = Graph(plan, [*before, new, *after])
    return graph.steps


def _endless(old: list[Step], new: Step, selector: Selector) -> str:
    keys = [(*step.key, family) for step in (*old, new) for family in selector.families]
    plugins = sorted({entry.plugin for key in keys for entry in selector.registries.fusions.find(*key)})
    return (
        f"Layer '{new.call.layer}': fusions replaced op '{new.call.op.name}' again and again: one of them applies to "
        f"what it returned. They are from {', '.join(plugins)}. Disable it: MOCHA_DISABLED_PLUGINS={plugins[0]}."
    )


def _rewrite(graph: Graph, root: Step, selector: Selector) -> Rewritten | None:
    def apply(entry: Entry) -> Rewritten | None:
        rewritten: Rewritten | None = entry.load()(graph, root)
        if rewritten is None or graph.reason_against(*rewritten):
            return None
        new = rewritten[1]
        forward_runs = any(s.call is new.call and s.half is Half.FORWARD for s in (*graph.steps, new))
        return rewritten if selector.choose(new.call, False, forward_runs) else None

    return selector.search(selector.registries.fusions, root.key, apply, root.call.layer)
