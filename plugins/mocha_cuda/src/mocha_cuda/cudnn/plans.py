"""Plans: ways in which cuDNN can compute a graph. Engines differ in speed, workspace and arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mocha_core.api import BackendError
from mocha_cuda.cudnn.constants import Attribute as A
from mocha_cuda.cudnn.constants import BehaviorNote, HeuristicMode, Kind, NumericalNote
from mocha_cuda.cudnn.descriptors import Descriptor
from mocha_cuda.cudnn.graph import Graph, Operand
from mocha_cuda.cudnn.library import CuDNNError, Handle, Library, dotted
from mocha_cuda.cudnn.problem import Problem

#: Notes of engines that round operands to less than their dtype (apart from TF32), or sum in less than float32.
COARSE = frozenset({NumericalNote.DOWN_CONVERT_INPUTS, NumericalNote.REDUCED_PRECISION_REDUCTION})
#: Notes that exclude an engine for "float32". Tensor cores round to TF32. Winograd's algorithms and FFT compute in
#: float32, but their errors scale with the largest value in a tile, and exceed the promised 1e-5 with large tiles.
INEXACT = COARSE | {
    NumericalNote.TENSOR_CORE,
    NumericalNote.FFT,
    NumericalNote.WINOGRAD,
    NumericalNote.WINOGRAD_TILE_4x4,
    NumericalNote.WINOGRAD_TILE_6x6,
    NumericalNote.WINOGRAD_TILE_13x13,
}
#: The maximum number of knobs that are read of an engine; engines have fewer.
MOST_KNOBS = 64


@dataclass(frozen=True)
class Choice:
    """An engine of cuDNN and the values of its knobs. Only cuDNN knows the meaning of these numbers."""

    engine: int
    knobs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Wants:
    """The requirements on the arithmetic."""

    exact: bool = False
    """Whether float32 is multiplied as float32."""
    deterministic: bool = False
    """Whether results are the same bytes each time."""

    def allows(self, notes: frozenset[int], dtype: str) -> bool:
        """Whether an engine with these notes meets the requirements for operands of a dtype."""
        if self.deterministic and NumericalNote.NONDETERMINISTIC in notes:
            return False
        # Engines for float64 compute in float64, with tensor cores or without.
        return not notes & (INEXACT if self.exact and dtype == "float32" else COARSE)


class Target:
    """The device that plans are made for: that of a handle, or a described one, which need not exist here.

    Attributes:
        refusal: why cuDNN refused the last engine or list of engines, for errors.
    """

    def __init__(self, library: Library, handle: Handle | None = None, description: str = "") -> None:
        self.library = library
        self.handle = handle
        self.refusal = ""
        self._properties: Descriptor | None = None
        if handle is None:
            json = {A.DEVICEPROP_JSON_REPRESENTATION: description.encode()}
            self._properties = Descriptor(library, Kind.DEVICEPROP, json)

    def graph(self, problem: Problem) -> Graph:
        """The graph of a problem.

        Raises:
            NoPlanError: cuDNN refuses it.
        """
        try:
            return Graph(self.library, problem, self._named(A.OPERATIONGRAPH_HANDLE, None))
        except CuDNNError as error:
            self.refusal = str(error)
            raise no_plan(problem, Wants(), self) from error

    def candidates(self, graph: Graph, wants: Wants) -> Iterator[Plan]:
        """Plans that run here, in cuDNN's order of expected speed. Each is made when it is asked for."""
        seen = set()
        for mode in (HeuristicMode.A, HeuristicMode.B, HeuristicMode.FALLBACK):
            for config in self._ranked(graph, mode):
                (engine,) = config.parts(A.ENGINECFG_ENGINE, Kind.ENGINE, 1)
                choice = _choice(config, engine)
                if choice in seen or _compiled_late(engine) or not wants.allows(_notes(engine), graph.problem.dtype):
                    continue
                seen.add(choice)
                plan = self._plan(graph, config, choice)
                if plan is not None:
                    yield plan

    def chosen(self, graph: Graph, choice: Choice, wants: Wants) -> Plan | None:
        """The plan of an earlier choice; None if it does not run here, or does not meet the requirements."""
        try:
            attributes = {A.ENGINE_OPERATION_GRAPH: graph.descriptor, A.ENGINE_GLOBAL_INDEX: choice.engine}
            engine = Descriptor(self.library, Kind.ENGINE, attributes | self._named(None, A.ENGINE_DEVICEPROP))
            if not wants.allows(_notes(engine), graph.problem.dtype):
                return None
            knobs = [
                Descriptor(self.library, Kind.KNOB_CHOICE, {A.KNOB_CHOICE_KNOB_TYPE: k, A.KNOB_CHOICE_KNOB_VALUE: v})
                for k, v in choice.knobs
            ]
            config = {A.ENGINECFG_ENGINE: engine} | ({A.ENGINECFG_KNOB_CHOICES: knobs} if knobs else {})
            return self._plan(graph, Descriptor(self.library, Kind.ENGINECFG, config), choice)
        except CuDNNError as error:
            self.refusal = str(error)
            return None

    def _ranked(self, graph: Graph, mode: HeuristicMode) -> list[Descriptor]:
        """Configurations of engines. Some modes have none, such as B for grouped convolutions."""
        asked = {A.ENGINEHEUR_OPERATION_GRAPH: graph.descriptor, A.ENGINEHEUR_MODE: mode}
        try:
            heuristic = Descriptor(self.library, Kind.ENGINEHEUR, asked | self._named(None, A.ENGINEHEUR_DEVICEPROP))
            return heuristic.parts(A.ENGINEHEUR_RESULTS, Kind.ENGINECFG)
        except CuDNNError as error:
            self.refusal = str(error)
            return []

    def _plan(self, graph: Graph, config: Descriptor, choice: Choice) -> Plan | None:
        """The plan; None if the engine does not serve this problem on this device, which cuDNN says only now."""
        device = self._named(A.EXECUTION_PLAN_HANDLE, A.EXECUTION_PLAN_DEVICEPROP)
        try:
            plan = Descriptor(self.library, Kind.EXECUTION_PLAN, device | {A.EXECUTION_PLAN_ENGINE_CONFIG: config})
            return Plan(graph, plan, choice)
        except CuDNNError as error:
            self.refusal = str(error)
            return None

    def _named(self, by_handle: A | None, by_properties: A | None) -> dict[A, Any]:
        """The attribute that names the device."""
        if self.handle is not None:
            return {} if by_handle is None else {by_handle: self.handle.pointer.value}
        return {} if by_properties is None else {by_properties: self._properties}


class Plan:
    """A plan that runs: a way to compute a graph.

    Attributes:
        choice: the engine and its knobs, to find the plan again.
        workspace_bytes: the size of its workspace.
    """

    def __init__(self, graph: Graph, descriptor: Descriptor, choice: Choice) -> None:
        self.graph = graph
        self.descriptor = descriptor
        self.choice = choice
        (self.workspace_bytes,) = descriptor.get(A.EXECUTION_PLAN_WORKSPACE_SIZE)

    def bind(self, handle: Handle, addresses: Mapping[Operand, int], workspace: int | None) -> Callable[[], None]:
        """A callable that computes, in the handle's stream, with operands and a workspace at these addresses."""
        library, plan, what = handle.library, self.descriptor, str(self.graph.problem)
        pack = Descriptor(
            library,
            Kind.VARIANT_PACK,
            {
                A.VARIANT_PACK_UNIQUE_IDS: list(addresses),
                A.VARIANT_PACK_DATA_POINTERS: list(addresses.values()),
                A.VARIANT_PACK_WORKSPACE: workspace,
            },
        )

        def execute() -> None:
            library.call("cudnnBackendExecute", handle.pointer, plan.pointer, pack.pointer, what=what)

        return execute


class NoPlanError(BackendError):
    """cuDNN has no engine that meets the requirements."""


def no_plan(problem: Problem, wants: Wants, target: Target) -> NoPlanError:
    """The error that names the problem, the requirements, and cuDNN's reason for its last refusal."""
    asked = [name for name in ("exact", "deterministic") if getattr(wants, name)]
    kind = f" that is {' and '.join(asked)}" if asked else ""
    less = ", or ask for less: System('cuda', precision='tf32', deterministic=False)" if asked else ""
    return NoPlanError(
        f"cuDNN {dotted(target.library.version)} has no plan{kind} for this: {problem}. Try a newer cuDNN{less}."
        + (f" What it refused last: {target.refusal}" if target.refusal else "")
    )


def _choice(config: Descriptor, engine: Descriptor) -> Choice:
    knobs = config.parts(A.ENGINECFG_KNOB_CHOICES, Kind.KNOB_CHOICE, MOST_KNOBS)
    pairs = [(*knob.get(A.KNOB_CHOICE_KNOB_TYPE), *knob.get(A.KNOB_CHOICE_KNOB_VALUE)) for knob in knobs]
    (number,) = engine.get(A.ENGINE_GLOBAL_INDEX)
    return Choice(number, tuple(sorted(pairs)))


def _notes(engine: Descriptor) -> frozenset[int]:
    return frozenset(engine.get(A.ENGINE_NUMERICAL_NOTE))


def _compiled_late(engine: Descriptor) -> bool:
    """Whether the engine compiles its kernel when a plan is made, which takes a third of a second in each process."""
    return BehaviorNote.RUNTIME_COMPILATION in engine.get(A.ENGINE_BEHAVIOR_NOTE)
