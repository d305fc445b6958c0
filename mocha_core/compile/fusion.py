"""Fusion: rewrites that replace several steps by one, where the results stay the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from mocha_core.compile.step_graph import Graph
from mocha_core.errors import PluginError
from mocha_core.graph.plan import Half, Plan, Step
from mocha_core.plugin.registry import ANY, Entry

if TYPE_CHECKING:
    from mocha_core.compile.selection import Selector

#: The most rewrites in a chain, each of the result of the one before; a longer chain counts as endless.
MOST_REWRITES = 100

Rewritten = tuple[list[Step], Step]
#: A rewrite looks at the steps around `root`, and returns the steps to replace and the new one; or None. It need not
#: check whether results stay the same: `Graph.reason_against` does. A new step that updates parameters outside the
#: update section takes the plan's cell "status" as an input, and updates nothing if that is set. What it returns
#: depends on nothing but the steps and what it asks the graph, because it is asked again only when an answer changes.
Rewrite = Callable[[Graph, Step], Rewritten | None]


def fuse(plan: Plan, selector: Selector) -> list[Step]:
    """The plan's steps after every registered rewrite that applies and whose kernel accepts.

    First come the rewrites that are registered for an op by its name; when none applies any more, those for any op.
    The first step at which a rewrite applies is always the next to be replaced. A step is tried again only if something
    has changed that its rewrites asked about.

    Raises:
        PluginError: two rewrites of equal priority both apply to one step; one fails; or they never end.
    """
    graph = Graph(plan, plan.steps)
    rewrites: dict[Step, int] = defaultdict(int)  # the length of the chain of rewrites that led to a step
    _apply(graph, selector, rewrites, named=True)
    if any(selector.registries.fusions.find(ANY, half, family) for half in Half for family in selector.families):
        _apply(graph, selector, rewrites, named=False)
    return graph.steps


def _apply(graph: Graph, selector: Selector, rewrites: dict[Step, int], named: bool) -> None:
    untried = set(graph.steps)
    heap, numbering = _by_label(graph, untried), graph.numbering
    while heap:
        _, root = heappop(heap)
        untried.discard(root)
        if root not in graph:
            continue
        rewritten = _rewrite(graph, root, selector, named)
        if rewritten is None:
            continue
        old, new = rewritten
        rewrites[new] = 1 + max(rewrites[step] for step in old)
        if rewrites[new] > MOST_REWRITES:
            raise PluginError(_endless(old, new, selector))
        again = {new, root, *graph.replace(old, new)}
        for step in again - untried:
            if step in graph:
                untried.add(step)
                heappush(heap, (graph.label(step), step))
        if numbering != graph.numbering:
            heap, numbering = _by_label(graph, untried), graph.numbering


def _by_label(graph: Graph, steps: Iterable[Step]) -> list[tuple[int, Step]]:
    heap = [(graph.label(step), step) for step in steps if step in graph]
    heapify(heap)
    return heap


def _endless(old: list[Step], new: Step, selector: Selector) -> str:
    keys = [(*step.key, family) for step in (*old, new) for family in selector.families]
    plugins = sorted({entry.plugin for key in keys for entry in selector.registries.fusions.find(*key)})
    return (
        f"Layer '{new.call.layer}': fusions replaced op '{new.call.op.name}' again and again: one of them applies to "
        f"what it returned. They are from {', '.join(plugins)}. Disable it: MOCHA_DISABLED_PLUGINS={plugins[0]}."
    )


def _rewrite(graph: Graph, root: Step, selector: Selector, named: bool) -> Rewritten | None:
    def apply(entry: Entry) -> Rewritten | None:
        rewritten: Rewritten | None = entry.load()(graph, root)
        if rewritten is None or graph.reason_against(*rewritten):
            return None
        new = rewritten[1]
        forward_runs = new.half is Half.FORWARD or graph.runs_forward(new.call)
        return rewritten if selector.choose(new.call, False, forward_runs) else None

    graph.ask_for(root)
    names = (root.key[0],) if named else (ANY,)
    return selector.search(selector.registries.fusions, root.key, apply, root.call.layer, names)
