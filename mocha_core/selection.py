"""Choosing the kernel of each call: by the backend's ancestry, then by priority, then the reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mocha_core.errors import BackendError, PluginError
from mocha_core.kernel import Kernel, Reference
from mocha_core.plan import Call, Half, Step
from mocha_core.registry import Entry

if TYPE_CHECKING:
    from mocha_core.backend import Backend
    from mocha_core.plugins import Registries


class Selector:
    """Looks kernels and fusions up for one backend. Used while compiling, never while running."""

    def __init__(self, backend: Backend, registries: Registries) -> None:
        self.backend = backend
        self.registries = registries
        self.families = backend.families()

    def choose(self, call: Call, reference: bool = True, forward_runs: bool = True) -> Kernel | None:
        """The kernel for a call; without `reference`, None where no registered kernel accepts.

        Args:
            call: the use of an op.
            reference: fall back on the op's own functions.
            forward_runs: whether the program runs the forward half. Where a fusion replaced it, a kernel
                that needs what its forward saves cannot serve.
        """
        op = call.op.name
        tried = []
        for family in (*self.families, "*"):
            accepted: list[tuple[Entry, Kernel]] = []
            for entry in self.registries.kernels.find(op, family):
                if accepted and entry.priority < accepted[0][0].priority:
                    break
                kernel = entry.load()(self.backend, call)
                if kernel is None or (kernel.saves and not forward_runs):
                    tried.append(f"{entry.plugin}'s for '{family}' declined")
                else:
                    accepted.append((entry, kernel))
            if accepted:
                entry = self.prefer(op, [entry for entry, _ in accepted], "kernels")
                kernel = dict(accepted)[entry]
                kernel.plugin = entry.plugin
                return kernel
        if not reference:
            return None
        if not call.op.has_reference:
            raise BackendError(
                f"Layer '{call.layer}': no kernel serves op '{op}' on backend '{self.backend.name}' "
                f"({'; '.join(tried) or 'none is registered'}), and the op has no reference implementation."
            )
        return Reference(self.backend, call)

    def prefer(self, op: str, entries: list[Entry], what: str) -> Entry:
        """The entry to take among equals.

        Raises:
            PluginError: the user has not said which.
        """
        if len(entries) == 1:
            return entries[0]
        wanted = self.backend.prefer.get(op)
        chosen = [entry for entry in entries if entry.plugin == wanted]
        if len(chosen) != 1:
            plugins = [entry.plugin for entry in entries]
            raise PluginError(
                f"Several {what} of equal priority {entries[0].priority} serve op '{op}' on backend "
                f"'{self.backend.name}', from {', '.join(plugins)}. Choose one with "
                f"System(..., prefer={{'{op}': '{plugins[0]}'}})."
            )
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
