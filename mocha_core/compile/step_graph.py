"""`Graph`: the steps of a program by the values that they read and write."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from typing import NamedTuple

from mocha_core.graph.cells import Cell
from mocha_core.graph.plan import Call, Half, Plan, Section, Step
from mocha_core.graph.value import Role, Value

_ORDER = {section: i for i, section in enumerate(Section)}
#: The distance between the labels of neighbours at first, and that of the first labels of two sections.
GAP, SECTION = 1 << 64, 1 << 128


class Touched(NamedTuple):
    """The values, without views, that a step reads and writes; not the status cell, whose order does not matter."""

    reads: frozenset[Value]
    writes: frozenset[Value]


class Graph:
    """The steps of a program, with the questions that a rewrite may ask about them.

    Steps have labels that grow with their position, so that a replacement changes no other step.
    """

    def __init__(self, plan: Plan, steps: Iterable[Step]) -> None:
        self.plan = plan
        self._status = plan.cells.get(Cell.STATUS)
        self.numbering = 0
        """How often all steps were given labels."""
        self._label: dict[Step, int] = {}
        self._in_order: list[Step] = []
        self._touched: dict[Step, Touched] = {}
        self._writers: dict[Value, list[Step]] = defaultdict(list)
        self._readers: dict[Value, list[Step]] = defaultdict(list)
        self._forward: Counter[Call] = Counter()
        self._exchanges = 0
        self._asking: Step | None = None
        self._asked: dict[object, set[Step]] = defaultdict(set)
        self._number(list(steps))
        for step in self._in_order:
            self._enter(step)

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        self._note(None)
        return list(self._in_order)

    def __contains__(self, step: Step) -> bool:
        return step in self._label

    def label(self, step: Step) -> int:
        """A number that grows with the position of a step."""
        return self._label[step]

    def writers(self, value: Value) -> list[Step]:
        """The steps that write (or add to) a value or a view of it, in order."""
        self._note((value.root, "writers"))
        return list(self._writers[value.root])

    def readers(self, value: Value) -> list[Step]:
        """The steps that need a value's contents, in order."""
        self._note((value.root, "readers"))
        return list(self._readers[value.root])

    def maker(self, value: Value | None) -> Step | None:
        """The only step that writes a value; None if there are several, or none."""
        if value is None:
            return None
        self._note((value.root, "writers"))
        writers = self._writers[value.root]
        return writers[0] if len(writers) == 1 else None

    def runs_forward(self, call: Call) -> bool:
        """Whether a step runs the forward half of a call."""
        return self._forward[call] > 0

    def private(self, value: Value, *inside: Step) -> bool:
        """Whether a value may vanish when the steps `inside` become one: no other step and no user reads it."""
        root = value.root
        if root.keep or not (value.transient or root.role is Role.PARAMETER_GRADIENT):
            return False
        self._note((root, "writers"))
        self._note((root, "readers"))
        return all(step in inside for steps in (self._readers[root], self._writers[root]) for step in steps)

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
        if Section.UPDATE in sections and new.section is not Section.UPDATE and self._status not in (None, *new.ins):
            return "the new step would update after a fault, because it does not read the status cell"
        kept = {value.root for value in new.writes}
        for step in old:
            for value in step.writes:
                if value.root not in kept and not self.private(value, *old):
                    return f"'{value.name}' is used elsewhere"
        if self.insertion_point(old, new) is None:
            return "another step lies between them"
        return ""

    def insertion_point(self, old: list[Step], new: Step) -> int | None:
        """The position at which `new` can replace `old` without passing a reader, writer or section; None if none."""
        at = {step: self._position(step) for step in old}
        places, section = set(at.values()), _ORDER[new.section]
        low, high = min(places), max(places) + 1
        # The steps between them of earlier sections stay before the new step, and those of later ones behind it.
        earlier, later = self._begin(section) - 1, self._begin(section + 1)
        while earlier in places:
            earlier -= 1
        while later in places:
            later += 1
        low, high = max(low, earlier + 1), min(high, later)
        made = self._touches(new)
        for step in self._meeting([*old, new], min(at.values()), max(at.values())):
            if step in at:
                continue
            here = self._position(step)
            before = [self._touches(o) for o in old if at[o] < here]
            behind = [self._touches(o) for o in old if at[o] > here]
            met = self._touches(step)
            if any(_conflict(o, met) for o in before) or (
                _conflict(made, met) and not any(_conflict(o, met) for o in behind)
            ):
                high = min(high, here)
            if any(_conflict(met, o) for o in behind):
                low = max(low, here + 1)
        return low if low <= high else None

    def ask_for(self, root: Step) -> None:
        """From now on, what is asked is asked for a rewrite at `root`."""
        self._asking = root

    def replace(self, old: list[Step], new: Step) -> set[Step]:
        """Put `new` in the place of `old`, where there is one; return the steps that had asked about what changes."""
        self._asking = None
        at = self.insertion_point(old, new)
        assert at is not None
        at -= sum(self._position(step) < at for step in old)
        changed: set[object] = {None}
        for step in old:
            changed |= self._keys(step)
            self._leave(step)
        self._insert(at, new)
        self._enter(new)
        changed |= self._keys(new)
        asked = set[Step]().union(*(self._asked.pop(key, ()) for key in changed))
        return {step for step in asked if step in self._label}

    def _exchanges_between(self, sections: Set[Section]) -> bool:
        """Whether there are exchange steps, and these sections do not all lie on one side of them.

        An update that moved before an exchange would use gradients, or a status, of this process only; an exchange step
        that moved into another section would not run after a fault.
        """
        places = [_ORDER[section] for section in sections]
        return self._exchanges > 0 and min(places) <= _ORDER[Section.EXCHANGE] <= max(places)

    def _meeting(self, steps: Iterable[Step], first: int, last: int) -> list[Step]:
        """The steps between two positions whose order with one of `steps` may matter, in order."""
        low, high = self._label[self._in_order[first]], self._label[self._in_order[last]]
        found: dict[Step, None] = {}

        def find(kind: str, root: Value) -> None:
            self._note((root, kind))
            others = (self._writers if kind == "writers" else self._readers)[root]
            for i in range(bisect_left(others, low, key=self._label.__getitem__), len(others)):
                if self._label[others[i]] > high:
                    break
                found[others[i]] = None

        for step in steps:
            touched = self._touches(step)
            for root in touched.writes:
                find("writers", root)
                find("readers", root)
            for root in touched.reads - touched.writes:
                find("writers", root)
        return sorted(found, key=self._label.__getitem__)

    def _note(self, key: object) -> None:
        if self._asking is not None:
            self._asked[key].add(self._asking)

    def _keys(self, step: Step) -> set[object]:
        """What changes if a step comes or goes."""
        written = {(value.root, "writers") for value in step.writes}
        return {*written, *((value.root, "readers") for value in step.reads)}

    def _touches(self, step: Step) -> Touched:
        if step not in self._touched:
            kinds = ({v.root for v in step.reads} - {self._status}, {v.root for v in step.writes} - {self._status})
            self._touched[step] = Touched(*map(frozenset, kinds))
        return self._touched[step]

    def _position(self, step: Step) -> int:
        return bisect_left(self._in_order, self._label[step], key=self._label.__getitem__)

    def _begin(self, section: int) -> int:
        """The position of the first step of a section, or of one behind it."""
        return bisect_left(self._in_order, section * SECTION, key=self._label.__getitem__)

    def _number(self, steps: list[Step]) -> None:
        self.numbering += 1
        self._in_order = steps
        self._label = {step: _ORDER[step.section] * SECTION + i * GAP for i, step in enumerate(steps, 1)}

    def _insert(self, at: int, new: Step) -> None:
        """Give a step a label, and a place in the order."""
        begin = _ORDER[new.section] * SECTION
        before = max(begin, self._label[self._in_order[at - 1]] if at else 0)
        behind = begin + SECTION
        if at < len(self._in_order):
            behind = min(behind, self._label[self._in_order[at]])
        self._in_order.insert(at, new)
        self._label[new] = (before + behind) // 2
        if self._label[new] in (before, behind):
            self._number(self._in_order)

    def _enter(self, step: Step) -> None:
        for values, lists in ((step.writes, self._writers), (step.reads, self._readers)):
            for value in values:
                insort(lists[value.root], step, key=self._label.__getitem__)
        if step.half is Half.FORWARD:
            self._forward[step.call] += 1
        self._exchanges += step.section is Section.EXCHANGE

    def _leave(self, step: Step) -> None:
        del self._in_order[self._position(step)], self._label[step]
        for values, lists in ((step.writes, self._writers), (step.reads, self._readers)):
            for value in values:
                lists[value.root].remove(step)
        if step.half is Half.FORWARD:
            self._forward[step.call] -= 1
        self._exchanges -= step.section is Section.EXCHANGE
        self._touched.pop(step, None)


def _conflict(first: Touched, second: Touched) -> bool:
    """Whether the order of two steps matters. It does not if both only report faults: either may be the first."""
    return not (
        first.writes.isdisjoint(second.reads)
        and first.writes.isdisjoint(second.writes)
        and second.writes.isdisjoint(first.reads)
    )
