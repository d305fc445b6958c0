"""What the CPU executor adds to a step beyond its kernel, and to an iteration beyond its steps.

Nets of 10 and of 210 layers whose kernels do nothing are run in turn; the difference of their medians, divided
by the difference in steps and less the cost of calling an empty function, is the price of a step. The rest of
the small net is the price of an iteration: cells, the objective, the status.

    python benchmarks/executor_overhead.py
"""

import statistics
import time

import numpy as np

import mocha_core as mocha
from mocha_core import layers
from mocha_core.compile.kernel import Kernel
from mocha_core.describe.layer import ComputationLayer
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Section
from mocha_core.plugin.manager import plugin_manager

RUNS, ITERATIONS = 31, 300


class Nothing(Op):
    name = "benchmark.nothing"
    backward_reads = ()

    def infer(self, x):
        return (x,)

    def forward(self, xp, x):
        raise NotImplementedError


class NothingKernel(Kernel):
    def forward(self, ins, outs, add):
        return nothing


class NothingLayer(ComputationLayer):
    def build(self, b, x):
        return b.call(Nothing(), x)


class Plugin:
    @mocha.hookimpl
    def mocha_register_kernels(self, kernels):
        kernels.add("benchmark.nothing", "cpu", lambda backend, call: NothingKernel())


def nothing():
    pass


def program(system, depth):
    rows = np.zeros((1, 1))
    rows.flags.writeable = False  # a constant, which a program gathers without Python
    data = layers.MemoryDataLayer(batch_size=1, data=[rows], tops=["0"])
    chain = [NothingLayer(bottoms=[str(i)], tops=[str(i + 1)]) for i in range(depth)]
    net = mocha.Net(f"{depth} layers", system, [data, *chain])
    net.forward_epoch()
    return net.runs.last_program()


def per_iteration(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / ITERATIONS * 1e6


def main():
    plugin_manager().add_plugin(Plugin(), "benchmark")
    with mocha.System("cpu") as system:
        small, large = program(system, 10), program(system, 210)
        steps = [len(p.runs(Section.FORWARD)) for p in (small, large)]
        schedule = {"valid_rows": np.ones(ITERATIONS, int), "iteration": np.arange(ITERATIONS)}
        empty = [nothing] * 200

        def call_empty():
            for _ in range(ITERATIONS):
                for run in empty:
                    run()

        times = {"small": [], "large": [], "empty": []}
        for _ in range(RUNS):
            times["small"].append(per_iteration(lambda: small.iterate(ITERATIONS, schedule)))
            times["large"].append(per_iteration(lambda: large.iterate(ITERATIONS, schedule)))
            times["empty"].append(per_iteration(call_empty))
    small_us, large_us, empty_us = (statistics.median(t) for t in times.values())
    step = (large_us - small_us) / (steps[1] - steps[0])
    print(f"an empty function in a loop   {empty_us / len(empty):8.3f} us")
    print(f"a step with an empty kernel   {step:8.3f} us")
    print(f"the executor adds to a step   {step - empty_us / len(empty):8.3f} us   (limit 1 us)")
    print(f"an iteration of {steps[0]} steps      {small_us:8.3f} us")


if __name__ == "__main__":
    main()
