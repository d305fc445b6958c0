"""`Convolutions`: convolutions on one device by cuDNN. Kernels talk to nothing else of this folder but `Problem`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from mocha_cuda import autotune
from mocha_cuda.cudnn.graph import Graph, Operand, operands
from mocha_cuda.cudnn.library import Handle, library
from mocha_cuda.cudnn.plan_cache import PlanCache
from mocha_cuda.cudnn.plans import Plan, Target, Wants, no_plan
from mocha_cuda.cudnn.problem import Problem
from mocha_cuda.cudnn.shortlist import first, shortlist
from mocha_cuda.nvrtc import cache_folder

if TYPE_CHECKING:
    from mocha_cuda.device import Device

#: Bytes of an element.
BYTES = {"float32": 4, "float64": 8, "bfloat16": 2}
#: A workspace begins at a multiple of so many bytes, as memory from CUDA does.
WORKSPACE_ALIGNMENT = 256
#: Handles that nobody uses, by the number of their device.
SPARE: dict[int, list[Handle]] = {}


class Convolutions:
    """Finds plans, and remembers them, in memory and on disk.

    Raises:
        BackendError: cuDNN is missing or too old.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.library = library()
        spare = SPARE.setdefault(device.number, [])
        with device.running():
            self.handle = spare.pop() if spare else Handle(self.library)
            self.handle.use(device.stream)
        # What was made with a handle may go after it: it is never destroyed, but used again.
        weakref.finalize(self, spare.append, self.handle).atexit = False
        self.target = Target(self.library, self.handle)
        machine = {"cudnn": self.library.version, "device": device.name, "driver": device.driver}
        self.kept = PlanCache(cache_folder(), machine)
        self.plan = cache(self._plan)

    def _plan(self, problem: Problem, wants: Wants) -> Convolution:
        """A way to compute a convolution: the fastest that was found, or with `deterministic` always the same one.

        The first time takes a tenth of a second, to measure some of them.

        Raises:
            NoPlanError: cuDNN has none.
        """
        simple = replace(problem, add=False, relu=False)
        with self.device.running():
            graph = self.target.graph(problem)
            plan = self._best(graph, wants) if problem == simple else self._like(self.plan(simple, wants), graph, wants)
        if plan is None:
            raise no_plan(problem, wants, self.target)
        return Convolution(self.device, self.handle, plan)

    def _like(self, simple: Convolution, graph: Graph, wants: Wants) -> Plan | None:
        """The engine that is the fastest without adding and without a ReLU, where it can that, too."""
        plan = self.target.chosen(graph, simple.choice, wants)
        return plan or first(self.target.candidates(graph, wants))

    def _best(self, graph: Graph, wants: Wants) -> Plan | None:
        plans = self.target.candidates(graph, wants)
        if wants.deterministic or not autotune.enabled():
            # What is measured may differ from one process to the next.
            return first(plans)
        question = f"{graph.problem}{', exact' if wants.exact else ''}"
        choice = self.kept.find(question)
        plan = None if choice is None else self.target.chosen(graph, choice, wants)
        if plan is None:
            plan = self._measured(shortlist(plans))
            if plan is not None:
                self.kept.keep(question, plan.choice)
        return plan or first(self.target.candidates(graph, wants))

    def _measured(self, plans: list[Plan]) -> Plan | None:
        """The fastest; None if there is no memory to try it."""
        if len(plans) < 2:
            return plans[0] if plans else None
        problem = plans[0].graph.problem
        with suppress(MemoryError):
            arrays = {operand: self._scratch(_bytes(problem, operand)) for operand in operands(problem)}
            workspace = self._scratch(max(map(workspace_bytes, plans)))

            def ready(plan: Plan) -> Callable[[], None]:
                return Convolution(self.device, self.handle, plan).bind(arrays, workspace)

            return autotune.fastest(self.device, plans, ready)
        return None

    def _scratch(self, n: int) -> Any:
        return self.device.empty((max(1, n),), "int8")


class Convolution:
    """A plan for the device.

    Attributes:
        workspace_bytes: what it needs as scratch.
        choice: the engine and its knobs.
    """

    def __init__(self, device: Device, handle: Handle, plan: Plan) -> None:
        self.device = device
        self.handle = handle
        self.plan = plan
        self.choice = plan.choice
        self.workspace_bytes = workspace_bytes(plan)

    @property
    def label(self) -> str:
        """How listings call it."""
        return f"cuDNN engine {self.choice.engine}"

    def bind(self, arrays: Mapping[Operand, Any], workspace: Any) -> Callable[[], None]:
        """What computes, for arrays and a workspace of `workspace_bytes` on the device, kept alive by the caller."""
        addresses = {operand: self.device.address(array) for operand, array in arrays.items()}
        place = None
        if self.workspace_bytes:
            place = -(-self.device.address(workspace) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
        return self.plan.bind(self.handle, addresses, place)


def workspace_bytes(plan: Plan) -> int:
    """What has to be given to it: as much as it needs, from the next multiple of the alignment on."""
    return plan.workspace_bytes + WORKSPACE_ALIGNMENT if plan.workspace_bytes else 0


def _bytes(problem: Problem, operand: Operand) -> int:
    shapes = {Operand.X: problem.x, Operand.W: problem.w, Operand.Y: problem.y, Operand.BIAS: problem.w[:1]}
    return prod(shapes[operand]) * BYTES[problem.dtype]
