"""`Backend`: a device, and the way to compile for it in five passes."""

from __future__ import annotations

from collections.abc import Mapping

from mocha_core.checks import shown
from mocha_core.compile.device import Device
from mocha_core.compile.fusion import fuse
from mocha_core.compile.kernel import BoundStep, Kernel
from mocha_core.compile.layout_pass import Arrangement, arrange
from mocha_core.compile.placement import Memory, check_largest, place
from mocha_core.compile.program import Program
from mocha_core.compile.selection import Selector
from mocha_core.compile.storage import Storage
from mocha_core.errors import blaming
from mocha_core.graph.plan import Call, Half, Plan, Step


class Backend(Device):
    """A device and the way to compile for it.

    Required: `name`, `xp`, `empty`, `to_numpy`, `copy_from_numpy`. Keyword options of the constructor are the
    options of `System(name, ...)`.
    """

    def compile(self, plan: Plan, storage: Storage) -> Program:
        """Turn a plan into a program: fuse, choose kernels, arrange layouts, place buffers, bind."""
        from mocha_core.plugin.manager import registries

        selector = Selector(self, registries())
        steps = self.fuse(plan, selector) if plan.fuse else list(plan.steps)
        check_largest(plan, steps, self)
        kernels = self.choose(steps, selector)
        arrangement = self.arrange(plan, steps, kernels)
        kernels |= selector.choose_all(step for step in arrangement.steps if step.call not in kernels)
        memory = self.place(plan, arrangement, kernels, storage)
        bound = self.bind(arrangement, kernels, memory)
        return self.executor(plan, bound, arrangement, memory, storage)

    def fuse(self, plan: Plan, selector: Selector) -> list[Step]:
        """Pass 1: apply the registered rewrites."""
        return fuse(plan, selector)

    def choose(self, steps: list[Step], selector: Selector) -> dict[Call, Kernel]:
        """Pass 2: a kernel for every call."""
        return selector.choose_all(steps)

    def arrange(self, plan: Plan, steps: list[Step], kernels: Mapping[Call, Kernel]) -> Arrangement:
        """Pass 3: a layout for every value, and conversions between them."""
        return arrange(plan, steps, kernels)

    def place(self, plan: Plan, arrangement: Arrangement, kernels: Mapping[Call, Kernel], storage: Storage) -> Memory:
        """Pass 4: a buffer for every value."""
        return place(plan, arrangement, kernels, storage, self)

    def bind(self, arrangement: Arrangement, kernels: Mapping[Call, Kernel], memory: Memory) -> list[BoundStep]:
        """Pass 5: kernels bound to buffers."""
        bound = []
        for step in arrangement.steps:
            kernel = kernels[step.call]
            ins = [None if v is None else memory.buffers[v] for v in step.ins]
            outs = [None if v is None else memory.buffers[v] for v in step.outs]
            saves = [memory.buffers[v] for v in memory.saves.get(step.call, ())]
            workspace = [memory.buffers[v] for v in memory.workspaces[step]]
            what = f"Layer '{step.call.layer}': {step.half} of kernel '{kernel.label}' of plugin '{kernel.plugin}'"
            with blaming(f"{what}, being bound,", f"Do without that plugin: MOCHA_DISABLED_PLUGINS={kernel.plugin}."):
                if step.half is Half.FORWARD:
                    run = kernel.forward(ins, outs + saves + workspace, step.add)
                else:
                    run = kernel.backward(ins + saves, outs + workspace, step.add)
                if not callable(run):
                    raise TypeError(f"expected a function without arguments, received {shown(run)}")
            bound.append(BoundStep(step, kernel, run))
        return bound

    def executor(
        self, plan: Plan, bound: list[BoundStep], arrangement: Arrangement, memory: Memory, storage: Storage
    ) -> Program:
        """The program that runs the bound steps; by default, it runs them one after the other."""
        return Program(self, plan, bound, arrangement, memory, storage)
