"""`Phases`: which passes over a row a `VectorProgram` takes, and what each of them computes."""

from __future__ import annotations

from collections import Counter

from mocha_core.api import VectorProgram

#: What takes longer than to read a result from memory; so do several other operations.
LONG = ("divide", "pow", "sqrt", "exp", "log", "tanh")
#: Longer rows are not kept: what several phases take is computed anew in each.
LONGEST = 1 << 14


class Phases:
    """A reduction ends a phase: what depends on it belongs to the next one. Outputs belong to the last.

    Attributes:
        last: the last phase.
        uses: for each phase, how often it takes the result of each operation.
        kept: operations whose results later phases than the first that needs them read from memory.
    """

    def __init__(self, program: VectorProgram) -> None:
        self.nodes = program.nodes
        self.last = max(program.phases, default=0)
        self.uses: list[Counter[int]] = []
        self.kept: set[int] = set()
        costs: list[int] = []
        for node in self.nodes:
            own = 0 if node.uniform or node.op == "input" else 3 if node.op in LONG else 1
            costs.append(own + sum(costs[a] for a in node.args if own))
        made: set[int] = set()
        for phase in range(self.last + 1):
            roots = [self.nodes[i].args[0] for i in program.reductions(phase)]
            if phase == self.last:
                roots += [output.node for output in program.outputs if output is not None]
                roots += [a for node in self.nodes if node.op == "all_finite" for a in node.args]
            uses, seen = Counter(roots), set()
            while roots:
                i = roots.pop()
                if i in seen or self.nodes[i].uniform:
                    continue
                seen.add(i)
                if i in made and costs[i] > 2 and program.columns <= LONGEST:
                    self.kept.add(i)
                    continue
                uses.update(self.nodes[i].args)
                roots += self.nodes[i].args
            made |= seen
            self.uses.append(uses)
