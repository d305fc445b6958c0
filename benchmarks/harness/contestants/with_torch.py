"""The nets in PyTorch: eager, in memory format channels_last, and compiled.

Minibatches are tensors beforehand, in the memory format that the model wants. Training updates with the fused SGD;
the loss is not read. Inference is in `torch.inference_mode`, and returns a NumPy array, which costs no copy.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from harness.nets import LRN, Add, Conv, Dense, Layer, Net, Pool
from harness.workloads import LEARNING_RATE, MINIBATCHES, MOMENTUM, WEIGHT_DECAY, Workload


class Model(nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.description = net.layers
        self.kept = {getattr(layer, "other", "") or getattr(layer, "bottom", "") for layer in net.layers}
        self.parts = nn.ModuleDict()
        for layer, (x, _) in zip(net.layers, net.shapes()):
            if isinstance(layer, Conv):
                sizes = {"stride": layer.strides, "padding": layer.pads, "groups": layer.groups}
                self.parts[layer.name] = nn.Conv2d(x[0], layer.filters, layer.window, **sizes)
            elif isinstance(layer, Dense):
                self.parts[layer.name] = nn.Linear(int(np.prod(x)), layer.outputs)
        with torch.no_grad():
            for name, (w, b) in net.weights().items():
                self.parts[name].weight.copy_(torch.from_numpy(w))
                self.parts[name].bias.copy_(torch.from_numpy(b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = {}
        for layer in self.description:
            x = kept.get(getattr(layer, "bottom", ""), x)
            x = self.apply_layer(layer, x, kept)
            if getattr(layer, "relu", False):
                x = F.relu(x)
            if layer.name in self.kept:
                kept[layer.name] = x
        return x

    def apply_layer(self, layer: Layer, x: torch.Tensor, kept: dict[str, torch.Tensor]) -> torch.Tensor:
        match layer:
            case Conv():
                return self.parts[layer.name](x)
            case Dense():
                return self.parts[layer.name](x.flatten(1))
            case Pool(kind="max"):
                return F.max_pool2d(x, layer.window, layer.strides, ceil_mode=True)
            case Pool():
                return F.avg_pool2d(x, layer.window, layer.strides, ceil_mode=True)
            case LRN():
                mean = F.avg_pool2d(x * x, layer.kernel, 1, layer.kernel // 2)
                return x * (1 + layer.scale * mean) ** -layer.power
            case Add():
                return x + kept[layer.other]


class Training:
    def __init__(self, model: nn.Module, minibatches: list[tuple[torch.Tensor, torch.Tensor]], compiled: bool) -> None:
        def objective(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(model(x), y)

        self.objective = torch.compile(objective) if compiled else objective
        self.minibatches = minibatches
        self.done = 0
        self.sgd = torch.optim.SGD(
            model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
        )

    def iterate(self) -> torch.Tensor:
        x, y = self.minibatches[self.done % MINIBATCHES]
        self.done += 1
        self.sgd.zero_grad(set_to_none=True)
        loss = self.objective(x, y)
        loss.backward()
        self.sgd.step()
        return loss

    def run(self, n: int) -> None:
        for _ in range(n):
            self.iterate()

    def check(self, n: int) -> list[float]:
        return [self.iterate().item() for _ in range(n)]


class Inference:
    def __init__(self, model: nn.Module, minibatches: list[tuple[torch.Tensor, torch.Tensor]], compiled: bool) -> None:
        self.model = torch.compile(model) if compiled else model
        self.minibatches = minibatches

    def run(self, n: int) -> None:
        with torch.inference_mode():
            for i in range(n):
                self.model(self.minibatches[i % MINIBATCHES][0]).numpy()

    def check(self, n: int) -> list[float]:
        with torch.inference_mode():
            return self.model(self.minibatches[0][0])[:n].ravel().tolist()


def make(variant: str, workload: Workload, threads: int) -> Training | Inference:
    torch.set_num_threads(threads)
    model, (images, labels) = Model(workload.net), workload.net.minibatches(workload.batch, MINIBATCHES)
    minibatches = list(zip(torch.from_numpy(images).chunk(MINIBATCHES), torch.from_numpy(labels).chunk(MINIBATCHES)))
    if "channels_last" in variant:
        model = model.to(memory_format=torch.channels_last)
        minibatches = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in minibatches]
    if not workload.training:
        model.eval()
    if "freeze" in variant:
        model = frozen(model, minibatches[0][0], "mkldnn" in variant)
    kind = Training if workload.training else Inference
    return kind(model, minibatches, "compile" in variant)


def frozen(model: nn.Module, x: torch.Tensor, mkldnn: bool) -> nn.Module:
    """TorchScript with constant weights; with `mkldnn` also what `optimize_for_inference` makes of that."""
    with torch.no_grad():
        script = torch.jit.freeze(torch.jit.trace(model, x))
    return torch.jit.optimize_for_inference(script) if mkldnn else script
