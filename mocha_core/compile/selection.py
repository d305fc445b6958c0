"""Choosing the kernel of each call: by the backend's ancestry, then by name, then by priority; then the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, TypeVar

from mocha_core.checks import shown
from mocha_core.compile.kernel import Kernel, Reference
from mocha_core.compile.vector_program import Untraceable
from mocha_core.errors import BackendError, PluginError, blaming
from mocha_core.graph.plan import Call, Half, Step
from mocha_core.plugin.registry import ANY, Candidates, Entry

if TYPE_CHECKING:
    from mocha_core.compile.device import Device
    from mocha_core.plugin.manager import Registries

Found = TypeVar("Found")


class Selector:
    """Looks up kernels and fusions for one backend, at compile time only."""

    def __init__(self, backend: Device, registries: Registries) -> None:
        self.backend = backend
        self.registries = registries
        self.families = (*backend.families(), "*")

    def choose(self, call: Call, reference: bool = True, forward_runs: bool = True) -> Kernel | None:
        """The kernel for a call; without `reference`, None if no registered kernel accepts the call.

        Args:
            call: the use of an op.
            reference: fall back on the op's own functions.
            forward_runs: whether the program runs the forward half. If a fusion replaced it, a kernel whose
                backward needs data saved by its forward cannot be chosen.
        """
        op = call.op.name
        declined: list[str] = []
        reasons: list[str] = []

        def build(entry: Entry) -> Kernel | None:
            try:
                kernel: Kernel | None = entry.load()(self.backend, call)
            except Untraceable as why:
                reasons.append(str(why))
                kernel = None
            if not isinstance(kernel, Kernel | None):
                raise TypeError(f"expected a Kernel or None, received {shown(kernel)}")
            if kernel is None or (kernel.saves and not forward_runs):
                declined.append(f"{entry.plugin}'s for '{entry.name.rpartition('/')[2]}' declined")
                return None
            kernel.plugin = entry.plugin
            return kernel

        kernel = self.search(self.registries.kernels, (op,), build, call.layer)
        if kernel is not None or not reference:
            return kernel
        if not call.op.has_reference:
            raise BackendError(
                f"Layer '{call.layer}': no kernel serves op '{op}' on backend '{self.backend.name}' "
                f"({'; '.join(declined) or 'none is registered'}), and the op has no reference implementation."
            )
        return Reference(self.backend, call, *reasons[:1])

    def search(
        self,
        candidates: Candidates,
        key: tuple[str, ...],
        accept: Callable[[Entry], Found | None],
        layer: str,
        names: Sequence[str] = (),
    ) -> Found | None:
        """The result of `accept` for the best entry that it accepts: of the nearest family, then by priority.

        Args:
            candidates: kernels or fusions.
            key: the op's name, and for a fusion the half.
            accept: returns None for an entry that it declines.
            layer: the layer of the op, for errors.
            names: those under which entries are looked for; by default the op's name, then `ANY`.

        Raises:
            PluginError: it accepts several of equal priority, or an entry fails.
        """
        for family, name in product(self.families, names or (key[0], ANY)):
            accepted: dict[Entry, Found] = {}
            for entry in candidates.find(name, *key[1:], family):
                if accepted and entry.priority < next(iter(accepted)).priority:
                    break
                what = f"Layer '{layer}': {candidates.kind} '{entry.name}' of plugin '{entry.plugin}'"
                with blaming(what, f"Do without that plugin: MOCHA_DISABLED_PLUGINS={entry.plugin}."):
                    found = accept(entry)
                if found is not None:
                    accepted[entry] = found
            if accepted:
                return accepted[self.prefer(candidates, key[0], list(accepted))]
        return None

    def prefer(self, candidates: Candidates, op: str, entries: list[Entry]) -> Entry:
        """The entry that the user prefers among entries of equal priority.

        Raises:
            PluginError: the user has not said which one to prefer.
        """
        wanted = self.backend.prefer.get(op)
        chosen = entries if len(entries) == 1 else [entry for entry in entries if entry.plugin == wanted]
        if len(chosen) != 1:
            raise PluginError(candidates.conflict(entries, self.backend.name))
        return chosen[0]

    def choose_all(self, steps: Iterable[Step]) -> dict[Call, Kernel]:
        """A kernel for every call among the steps."""
        steps = list(steps)
        forward = {step.call for step in steps if step.half is Half.FORWARD}
        kernels: dict[Call, Kernel] = {}
        for call in dict.fromkeys(step.call for step in steps):
            kernel = self.choose(call, forward_runs=call in forward)
            assert kernel is not None
            kernels[call] = kernel
        return kernels
