"""Chains of steps: an element-wise one is one traced program. After another kernel it is that kernel's epilogue, which
runs on what the kernel has just written, while that is in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mocha_layers_std.rectified import MaskedBackwardKernel, WithReLU

from mocha_core.api import PLAIN, Call, Chain, Half, Kernel, Layout, Layouts, Runnable, Selector, Value, registries
from mocha_core.api import chain as chain_of
from mocha_native.compiled import Buffers, Compiled, NativeKernel
from mocha_native.kernels.traced import Traced
from mocha_native.kernels.traced import chain as traced_chain

if TYPE_CHECKING:
    from mocha_native.backend import NativeBackend


class WithEpilogue(NativeKernel):
    """Calls `kernel`, that of the first step, whose `target` runs what `rest`, the kernel of the others, binds."""

    def __init__(
        self, backend: NativeBackend, call: Call, kernel: Kernel, target: NativeKernel, rest: Traced, layouts: Layouts
    ) -> None:
        super().__init__(backend, call)
        self.kernel, self.target, self.rest = kernel, target, rest
        self.step = self.op.steps[0]
        forward = self.step.half is Half.FORWARD
        self.forward_workspace = kernel.forward_workspace if forward else kernel.backward_workspace
        self.layouts = layouts

    def forward(self, ins: Buffers, outs: Buffers, add: Sequence[bool]) -> Runnable:
        results, step, rest = self.call.outs, self.step, self.rest.call
        workspace = outs[len(results) :]
        arrays: dict[Value | None, Any] = dict(zip((None, *self.call.ins, *results), (None, *ins, *outs), strict=False))
        added: dict[Value | None, bool] = dict(zip(results, add, strict=True))
        if step.writes[0] not in arrays:
            # Nothing else reads it: the other steps change it in place.
            arrays[step.writes[0]] = next(arrays[value] for value in rest.outs if not added[value])
        before, behind = ([arrays[value] for value in values] for values in (rest.ins, rest.outs))
        epilogue = self.rest.forward(before, behind, [added[value] for value in rest.outs])
        assert isinstance(epilogue, Compiled)
        self.target.epilogue = epilogue
        half = self.kernel.forward if step.half is Half.FORWARD else self.kernel.backward
        ins, written = ([arrays[value] for value in values] for values in (step.ins, step.outs))
        return half(ins, [*written, *workspace], [added.get(value, False) for value in step.outs])

    @property
    def label(self) -> str:
        return " + ".join([self.kernel.label, *(step.call.op.title for step in self.op.steps[1:])])


def chain(backend: NativeBackend, call: Call) -> NativeKernel | None:
    """Declines if the steps are neither element-wise, nor an epilogue of a kernel that takes one."""
    op = call.op
    assert isinstance(op, Chain)
    step, *others = op.steps
    kernel = target = Selector(backend, registries()).choose(step.call, False)
    half, writes_first = step.half, step.outs[0] is not None
    if isinstance(target, MaskedBackwardKernel):
        half, writes_first = Half.BACKWARD, target.op.wanted[0] == 0
    if isinstance(target, WithReLU):
        target = target.inner
    if kernel is None or not isinstance(target, NativeKernel) or half not in target.takes_epilogue:
        return traced_chain(backend, call)
    more, read = {*step.writes[1:]}, {value for other in others for value in other.ins}
    layouts = layouts_of(kernel, call)
    if kernel.saves or not writes_first or read & more or not more <= {*call.outs} or layouts is None:
        return None
    behind = chain_of(others, [value for value in call.outs if value not in step.outs])
    program = traced_chain(backend, Call(behind, behind.ins, behind.results, call.layer))
    # The first step decides about the layout.
    return WithEpilogue(backend, call, kernel, target, program, layouts) if program and program.follows else None


def layouts_of(kernel: Kernel, call: Call) -> Layouts | None:
    """What the first step wants; the others follow the layout of its output. None if that is not possible."""
    op, layouts = call.op, kernel.layouts
    assert isinstance(op, Chain)
    step = op.steps[0]
    if layouts.follow:
        return layouts
    n_in, n_out = len(step.call.ins), len(step.call.outs)
    y = [layouts.of_out(i) for i in range(n_out)]
    if step.half is Half.FORWARD:
        wanted, results = [layouts.of_in(i) for i in range(n_in)], y
    else:
        wanted = [*y, *(layouts.of_in(i, backward=True) for i in range(n_in)), *y]
        results = [layouts.of_gradient(i) for i in range(n_in)]
    followed = results[step.outs.index(step.writes[0])]
    pairs = [*zip(step.ins, wanted, strict=True), *zip(step.outs, results, strict=True)]
    for other in op.steps[1:]:
        pairs += [(value, followed) for value in (*other.ins, *other.outs) if value and value.spec.size > 1]
    found: dict[Value, Layout] = {}
    for value, layout in pairs:
        if value is not None and found.setdefault(value, layout) is not layout:
            return None
    ins, outs = (tuple(found.get(value, PLAIN) for value in values) for values in (call.ins, call.outs))
    return Layouts(ins=ins, outs=outs)
