"""`SavedRun`: everything that an exact resume needs, as arrays and JSON values. It is the contents of a snapshot."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mocha_core import checks
from mocha_core.errors import NonFiniteError, SnapshotError
from mocha_core.graph.value import Role
from mocha_core.log import logger
from mocha_core.train.parameters import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mocha_core.net.net import Net
    from mocha_core.train.solver import Solver


class StoredArray(Protocol):
    """A NumPy array, or one that is still in an open file: `np.asarray` reads it, and may raise `FileError`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its axes, known before anything is read."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements."""

    def __array__(self) -> NDArray[Any]:
        """The contents."""


@dataclass
class SavedRun:
    """A training run at one iteration: the contents of a snapshot.

    Attributes:
        parameters: parameters and states by `layer___name`.
        slots: the solver's slots by `slot/layer___name`.
        facts: JSON values: iteration, objective, the solver's cells (learning_rate, momentum), backend, seed, dtype,
            solver, batch_size, accumulate, `rows` of each data layer's source, and `cursors`, the number of rows
            consumed of each.
    """

    parameters: Mapping[str, StoredArray]
    slots: Mapping[str, StoredArray]
    facts: dict[str, Any]


def capture(solver: Solver, net: Net) -> SavedRun:
    """The state of a run between two iterations.

    Raises:
        StateError: an iteration ended between its updates.
        NonFiniteError: a parameter or slot is not finite, or a state is not a number.
    """
    net.runs.check_whole()
    system = net.system
    with system.storage.gate.shared():
        parameters = net.states.copy()
        slots = {key: system.read(value) for key, value in solver.memories(net).items()}
    states = {key for key, s in net.states.items() if s.value.role is Role.STATE}
    for key, array in (parameters | slots).items():
        if (np.isnan(array) if key in states else ~np.isfinite(array)).any():
            raise NonFiniteError(
                f"'{key}' of {net.runs.label} is not finite, and is not saved. Go on from the last snapshot."
            )
    return SavedRun(
        parameters=parameters,
        slots=slots,
        facts={
            **_progress(solver),
            **_surroundings(solver, net),
            "solver": type(solver).__name__,
            "cursors": {name: feed.cursor for name, feed in net.feeds.items()},
        },
    )


def restore(run: SavedRun, solver: Solver, net: Net, *, solver_state: bool = True) -> None:
    """Restore a saved run; without `solver_state`, load parameters and states only.

    Everything is checked and read before anything is written. Per-row states get their first contents if `solver_state`
    is False, or if the snapshot was made with another batch size.

    Raises:
        SnapshotError: the snapshot is from another net or another kind of solver, or its facts are invalid.
        FileError: an array cannot be read.
    """
    facts, system = run.facts, net.system
    _check_names("parameters", run.parameters, net.states)
    rows = {key: run.parameters[key].shape[:1] for key in net.states}
    anew = {
        key: state
        for key, state in net.states.items()
        if state.per_row and not (solver_state and rows[key] == state.value.shape[:1])
    }
    stored = {
        f"parameter '{key}'": (run.parameters[key], state.value) for key, state in net.states.items() if key not in anew
    }
    if solver_state:
        _check_facts(facts)
        if facts["solver"] != type(solver).__name__:
            raise SnapshotError(
                f"The snapshot is of solver {facts['solver']}, this is {type(solver).__name__}. Use "
                "Snapshot(..., also_load_solver_state=False) to start from its parameters only."
            )
        _check_kinds(facts, dict.fromkeys(solver.state.cells, float))
        learned = {key.partition("/")[2] for key in run.slots}
        everything = [p for group in net.parameters.values() for p in group.values()]
        solver.make_slots([p for p in everything if p.key in learned])
        memories = solver.memories(net)
        _check_names("solver slots", run.slots, memories)
        stored |= {f"solver slot '{key}'": (run.slots[key], value) for key, value in memories.items()}
        _check_names("data layers", facts["cursors"], net.feeds)
        for what, own in _surroundings(solver, net).items():
            if (found := facts.get(what, own)) != own:
                logger.warning(
                    f"The snapshot was made with {what} {found!s:.200}, this system has {what} {own}: the run "
                    "goes on, but not as the uninterrupted one would."
                )
    for what, (array, value) in stored.items():
        _check_shape(what, array, value.shape)
    contents = [(v, checks.castable(f"The snapshot's {what}", a, v.dtype)) for what, (a, v) in stored.items()]
    with system.storage.gate.exclusive():
        for value, array in [*contents, *((state.value, state.anew(state.value.shape)) for state in anew.values())]:
            system.write(value, array)
    net.runs.half_updated = False
    if solver_state:
        for name, cursor in facts["cursors"].items():
            net.feeds[name].seek(cursor)
        cells = {name: facts[name] for name in solver.state.cells}
        solver.state = replace(solver.state, iteration=facts["iteration"], objective=facts["objective"], cells=cells)


def _progress(solver: Solver) -> dict[str, Any]:
    """The solver's state as facts: iteration, objective, and its cells by name."""
    state = solver.state
    return {"iteration": state.iteration, "objective": state.objective, **state.cells}


def _surroundings(solver: Solver, net: Net) -> dict[str, Any]:
    """Facts on which the numbers of a run depend: with others, it continues, but not exactly as before."""
    return {
        "backend": net.system.backend.name,
        "seed": net.system.seed,
        "dtype": net.system.dtype,
        "rows": {name: feed.source.rows for name, feed in net.feeds.items()},
        "batch_size": net.feeds.first.layer.batch_size,
        "accumulate": solver.parameters.accumulate,
    }


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Raise `SnapshotError` unless all facts are present and valid: a damaged file can contain anything."""
    run = {"iteration": int, "objective": float, "cursors": dict}
    _check_kinds(facts, {**run, "seed": int, "dtype": str, "solver": str})
    for name, count in [("iteration", facts["iteration"]), *facts["cursors"].items()]:
        if type(count) is not int or not 0 <= count <= LARGEST:
            raise _nonsense(name, count, f"an integer from 0 to {LARGEST}")


def _check_kinds(facts: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if type(facts.get(name)) is not kind:
            raise _nonsense(name, facts.get(name), f"a value of type {kind.__name__}")


def _nonsense(name: str, found: Any, expected: str) -> SnapshotError:
    return SnapshotError(
        f"The snapshot's '{name}' is {reprlib.repr(found)}, expected {expected}. Delete the snapshot, or load its "
        "parameters only."
    )


def _check_names(what: str, found: Any, expected: Any) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise SnapshotError(
            f"The snapshot is of another net: its {what} lack {', '.join(missing) or 'nothing'}, and have "
            f"{', '.join(extra) or 'nothing'} more. Use another snapshot folder, or the net it was made with."
        )


def _check_shape(what: str, array: StoredArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise SnapshotError(
            f"The snapshot is of another net: {what} has shape {array.shape}, expected {shape}. Use another "
            "snapshot folder, or the net it was made with."
        )
