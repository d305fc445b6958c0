"""`Convolutions`: convolutions on one device by cuDNN. Kernels use only this class and `Problem` of this folder."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
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

#: The bytes of an element of each dtype.
BYTES = {"float32": 4, "float64": 8, "bfloat16": 2}
#: A workspace begins at a multiple of this number of bytes, as memory from CUDA does.
WORKSPACE_ALIGNMENT = 256
#: Unused handles, by the number of their device.
SPARE: dict[int, list[Handle]] = {}
#: Plans kept for later kernels with the same problem; a kernel holds its own.
KEPT_PLANS = 512


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
        # Objects made with a handle may outlive this one, so handles are never destroyed but used again.
        weakref.finalize(self, spare.append, self.handle).atexit = False
        self.target = Target(self.library, self.handle)
        machine = {"cudnn": self.library.version, "device": device.name, "driver": device.driver}
        self.kept = PlanCache(cache_folder(), machine)
        self.plan = lru_cache(KEPT_PLANS)(self._plan)

    def _plan(self, problem: Problem, wants: Wants) -> Convolution:
        """A plan for a convolution: the fastest one found, or with `deterministic` always the same one.

        The first call for a problem takes a tenth of a second, to measure some plans.

        Raises:
            NoPlanError: cuDNN has no plan for it.
        """
        simple = replace(problem, add=False, relu=False)
        with self.device.running():
            graph = self.target.graph(problem)
            plan = self._best(graph, wants) if problem == simple else self._like(self.plan(simple, wants), graph, wants)
        if plan is None:
            raise no_plan(problem, wants, self.target)
        return Convolution(self.device, self.handle, plan)

    def _like(self, simple: Convolution, graph: Graph, wants: Wants) -> Plan | None:
        """The engine that is the fastest without adding and without a ReLU, if it also supports these."""
        plan = self.target.chosen(graph, simple.choice, wants)
        return plan or first(self.target.candidates(graph, wants))

    def _best(self, graph: Graph, wants: Wants) -> Plan | None:
        plans = self.target.candidates(graph, wants)
        if wants.deterministic or not autotune.enabled():
            # Measurements may choose another plan in the next process.
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
        """The fastest plan; None if there is no memory to measure."""
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
        workspace_bytes: the size of its workspace.
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
        """Its name in listings."""
        return f"cuDNN engine {self.choice.engine}"

    def bind(self, arrays: Mapping[Operand, Any], workspace: Any) -> Callable[[], None]:
        """A callable that computes with arrays and a workspace on the device, which the caller keeps alive."""
        addresses = {operand: self.device.address(array) for operand, array in arrays.items()}
        place = None
        if self.workspace_bytes:
            place = -(-self.device.address(workspace) // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
        return self.plan.bind(self.handle, addresses, place)


def workspace_bytes(plan: Plan) -> int:
    """The part of the workspace from the next multiple of the alignment on."""
    return plan.workspace_bytes + WORKSPACE_ALIGNMENT if plan.workspace_bytes else 0


def _bytes(problem: Problem, operand: Operand) -> int:
    shapes = {Operand.X: problem.x, Operand.W: problem.w, Operand.Y: problem.y, Operand.BIAS: problem.w[:1]}
    return prod(shapes[operand]) * BYTES[problem.dtype]
