"""Profiles of a net: real iterations, timed step by step, whose effects are undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mocha_core.compile.profiling import Profile
from mocha_core.graph.plan import Section
from mocha_core.graph.value import Value
from mocha_core.net.trainer import Trainer

if TYPE_CHECKING:
    from mocha_core.compile.program import Program
    from mocha_core.net.runs import Runs


def profile(runs: Runs, program: Program, n: int, solver: Trainer | None, memories: Iterable[Value]) -> Profile:
    """See `Net.profile`; `memories` are the slots that the solver's updates in the program have."""
    k = program.plan.minibatches
    with runs.system.storage.gate.exclusive(), _unchanged(runs, memories):
        runs.begin(program)
        runs.feeds.begin(wrap=True, minibatches=(n + 1) * k)
        program.start_anew()
        if solver is None:
            schedule = runs.schedule(program, n + 1, 0)
            sections = [Section.FORWARD, *([Section.BACKWARD] if program.plan.gradients else [])]
            for section in sections:
                program.run(section, schedule)
            left = {name: column[1:] for name, column in schedule.items()}
            rows = program.profile(n, left, sections)
        else:
            cells = solver.schedule(solver.state.iteration, n + 1)
            schedule = runs.schedule(program, (n + 1) * k, solver.state.iteration)
            schedule |= {name: np.repeat(column, k) for name, column in cells.items()}
            program.iterate(1, {name: column[:k] for name, column in schedule.items()})
            rows = program.profile(n, {name: column[k:] for name, column in schedule.items()})
        runs.raise_fault(program)
    return rows


@contextmanager
def _unchanged(runs: Runs, memories: Iterable[Value]) -> Iterator[None]:
    """Afterwards parameters, states, slots, statistics and cursors are as they were."""
    system = runs.system
    values = [state.value for state in runs.recorder.states().values()] + [s.total for s in runs.plan.statistics]
    before = [(value, system.read(value)) for value in (*values, *memories)]
    try:
        with runs.feeds.restored():
            yield
    finally:
        for value, array in before:
            system.write(value, array)
