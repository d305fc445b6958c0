"""The nets in Mocha, on one of its backends: `solver.solve`, with data in memory, and `net.predict`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

import mocha_core as mocha
from harness.nets import LRN, Add, Conv, Dense, Net, Pool
from harness.workloads import LEARNING_RATE, MINIBATCHES, MOMENTUM, WEIGHT_DECAY, Workload
from mocha_core import layers, neurons, regularizers, solvers
from mocha_core.compile.program import Program, Schedule
from mocha_core.describe.layer import Layer

#: All parameters are learned alike, as PyTorch's optimizer does unless it is told otherwise.
BIAS = {"bias_lr": 1.0, "bias_regu": regularizers.L2Regu(1)}


def body(net: Net) -> list[Layer]:
    """Its layers, from the blob "data" to the blob `net.output`."""
    found, bottom = [], "data"
    for layer in net.layers:
        bottom = getattr(layer, "bottom", "") or bottom
        common = {"name": layer.name, "bottoms": [bottom], "tops": [layer.name]}
        if getattr(layer, "relu", False):
            common["neuron"] = neurons.ReLU()
        match layer:
            case Conv():
                # Mocha's pairs are (width, height).
                sizes = {"kernel": layer.window[::-1], "stride": layer.strides[::-1], "pad": layer.pads[::-1]}
                groups = {"n_filter": layer.filters, "n_group": layer.groups}
                found.append(layers.ConvolutionLayer(**groups, **sizes, **BIAS, **common))
            case Pool():
                sizes = {"kernel": layer.window[::-1], "stride": layer.strides[::-1]}
                found.append(layers.PoolingLayer(pooling=layers.Pooling(layer.kind), **sizes, **common))
            case LRN():
                mode = layers.LRNMode.WithinChannel
                parameters = {"kernel": layer.kernel, "scale": layer.scale, "power": layer.power}
                found.append(layers.LRNLayer(mode=mode, **parameters, **common))
            case Add():
                common["bottoms"] = [bottom, layer.other]
                found.append(layers.ElementWiseLayer(operation=layers.ElementWise.Add, **common))
            case Dense():
                found.append(layers.InnerProductLayer(output_dim=layer.outputs, **BIAS, **common))
        bottom = layer.name
    return found


def build(workload: Workload, system: mocha.System) -> mocha.Net:
    """The net with its data, and with the weights of the description."""
    data = list(workload.net.minibatches(workload.batch, MINIBATCHES))
    for array in data:
        array.flags.writeable = False  # constants, which may stay on the device
    source = layers.MemoryDataLayer(name="source", data=data, batch_size=workload.batch)
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=[workload.net.output, "label"])
    net = mocha.Net(workload.net.name, system, [source, *body(workload.net), loss])
    parameters = net.parameters
    for layer, (w, b) in workload.net.weights().items():
        names = parameters[layer]
        names["filter" if "filter" in names else "weight"].set(w)
        names["bias"].set(b)
    return net


class Training:
    def __init__(self, net: mocha.Net) -> None:
        self.net = net
        # L2Regu's gradient is twice the parameter.
        self.parameters = mocha.SolverParameters(
            max_iter=1, lr_policy=LEARNING_RATE, momentum=MOMENTUM, regu_coef=WEIGHT_DECAY / 2
        )
        self.solver = solvers.SGD(self.parameters)

    def run(self, n: int) -> None:
        last = self.solver.state.iteration + n
        self.solver.parameters = replace(self.parameters, max_iter=last)
        self.solver.solve(self.net)

    def check(self, n: int) -> list[float]:
        objectives = []
        for _ in range(n):
            self.run(1)
            objectives.append(self.solver.state.objective)
        return objectives


class Inference:
    def __init__(self, net: mocha.Net, workload: Workload) -> None:
        self.net, self.output = net, workload.net.output
        images, _ = workload.net.minibatches(workload.batch, MINIBATCHES)
        self.minibatches = np.split(images, MINIBATCHES)

    def run(self, n: int) -> None:
        for i in range(n):
            self.net.predict(self.minibatches[i % MINIBATCHES], self.output)

    def check(self, n: int) -> list[float]:
        return self.net.predict(self.minibatches[0], self.output)[:n].ravel().tolist()


def make(variant: str, workload: Workload, threads: int) -> Training | Inference:
    """`variant` is a backend; one on a GPU has no threads, but a precision, such as "cuda tf32"."""
    backend, *precision = variant.split()
    options = {"precision": precision[0]} if precision else {"threads": threads}
    net = build(workload, mocha.System(backend, **options))
    return Training(net) if workload.training else Inference(net, workload)


# What contestants on a GPU are asked for.


def host_seconds(side: Training, n: int) -> float:
    """Of an iteration, of n in one call of the solver: all that the host does but waiting for the device."""
    backend, waited = side.net.runs.training_program(side.solver).backend, 0.0

    def timed(array: Any) -> Any:
        nonlocal waited
        start = time.perf_counter()
        found = type(backend).to_numpy(backend, array)
        waited += time.perf_counter() - start
        return found

    backend.to_numpy = timed
    try:
        start = time.perf_counter()
        side.run(n)
        return (time.perf_counter() - start - waited) / n
    finally:
        del backend.to_numpy


def device(side: Training) -> str:
    where = side.net.runs.training_program(side.solver).backend.device
    return f"{where.name}, driver for CUDA {where.driver // 1000}.{where.driver % 1000 // 10}"


# What only Mocha is asked for.


def program_of(side: Training | Inference, n: int) -> tuple[Program, Schedule]:
    """The program behind the contestant, and what its cells are in n iterations."""
    if isinstance(side, Inference):
        return side.net.program(side.output), {"valid_rows": np.full(n, len(side.minibatches[0]))}
    program = side.net.runs.training_program(side.solver)
    return program, side.net.runs.schedule(program, n, 0) | side.solver.schedule(0, n)


def without_python(side: Training | Inference, n: int) -> float:
    """Seconds of an iteration, of n in one call of the program."""
    program, schedule = program_of(side, n)
    start = time.perf_counter()
    program.iterate(n, schedule)
    return (time.perf_counter() - start) / n


def profile(side: Training | Inference, n: int) -> dict[str, Any]:
    """Seconds of each step in n iterations, as [layer, op, section, kernel, seconds], and of an iteration in all."""
    program, schedule = program_of(side, n)
    start = time.perf_counter()
    rows = program.profile(n, schedule)
    steps = [[*map(str, row[:4]), row.seconds] for row in rows]
    return {"steps": steps, "seconds": (time.perf_counter() - start) / n}
