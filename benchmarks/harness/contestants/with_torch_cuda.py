"""The nets in PyTorch on a GPU: eager, compiled, and whole iterations as CUDA graphs.

Minibatches lie on the device. cuDNN searches for the fastest algorithms (`cudnn.benchmark`), the update is the fused
SGD, nobody reads the loss, and the device is waited for at the end of a turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from harness.contestants import with_torch
from harness.contestants.with_torch import Model
from harness.workloads import MINIBATCHES, Workload

#: Iterations before a capture: cuDNN's search, and buffers that are made in the first.
WARM = 3


class Training(with_torch.Training):
    """Eager, or compiled for the fastest kernels, which launches them as CUDA graphs."""

    def __init__(self, model: Model, minibatches: list[tuple[torch.Tensor, torch.Tensor]], compiled: bool) -> None:
        super().__init__(model, minibatches, compiled=False)
        if compiled:
            self.objective = torch.compile(self.objective, mode="max-autotune")

    def run(self, n: int) -> None:
        super().run(n)
        wait()


class GraphTraining(Training):
    """A graph for each minibatch, of forward, backward and update: nothing is copied, nothing but launched."""

    def __init__(self, model: Model, minibatches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__(model, minibatches, compiled=False)
        self.model = model
        self.graphs: list[torch.cuda.CUDAGraph] = []
        self.losses: list[torch.Tensor] = []
        self.unlearned(self.capture)

    def capture(self) -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                super().iterate()
        torch.cuda.current_stream().wait_stream(aside)
        pool = None
        for x, y in self.minibatches:
            graph = torch.cuda.CUDAGraph()
            self.sgd.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, pool=pool):
                loss = self.objective(x, y)
                loss.backward()
                self.sgd.step()
            pool = graph.pool()
            self.graphs.append(graph)
            self.losses.append(loss.detach())
            del loss  # else the graph of its gradients, which belongs to this capture, meets the next one

    def unlearned(self, work: Callable[[], None]) -> None:
        """Do something, and be as before: weights, velocities, and how many iterations were done."""
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        work()
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), before):
                parameter.copy_(value)
            for state in self.sgd.state.values():
                state["momentum_buffer"].zero_()
        self.done = 0

    def iterate(self) -> torch.Tensor:
        number = self.done % MINIBATCHES
        self.done += 1
        self.graphs[number].replay()
        return self.losses[number]


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def host_seconds(side: Training, n: int) -> float:
    """Of an iteration: until the device was told all, not until it was done."""
    wait()
    start = time.perf_counter()
    for _ in range(n):
        side.iterate()
    seconds = (time.perf_counter() - start) / n
    wait()
    return seconds


def device(side: Training) -> str:
    where = torch.cuda.get_device_properties(0)
    return f"{where.name}, CUDA {torch.version.cuda}, PyTorch's cuDNN {torch.backends.cudnn.version()}"


def make(variant: str, workload: Workload, threads: int, place: str = "cuda") -> Training:
    """`variant` is such as "graph tf32": how it runs, and whether convolutions and products may use TF32."""
    how, precision = variant.split()
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    model, (images, labels) = Model(workload.net).to(place), workload.net.minibatches(workload.batch, MINIBATCHES)
    given = (torch.from_numpy(array).to(place).chunk(MINIBATCHES) for array in (images, labels))
    minibatches = [(x.clone(), y.clone()) for x, y in zip(*given)]
    return GraphTraining(model, minibatches) if how == "graph" else Training(model, minibatches, how == "compile")
