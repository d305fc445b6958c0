"""What is timed: a net, a batch size, and whether it is trained or only run."""

from __future__ import annotations

from dataclasses import dataclass

from harness import nets, wide_nets
from harness.nets import Net

#: Minibatches in memory, taken in turn.
MINIBATCHES = 4
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4

NETS = {
    "lenet": nets.LENET,
    "cifar10": nets.CIFAR10,
    "mlp": nets.MLP,
    "vgg": nets.VGG,
    "residual": nets.RESIDUAL,
    "tiny": nets.TINY,
    "big-mlp": wide_nets.BIG_MLP,
    "huge-mlp": wide_nets.HUGE_MLP,
    "table-mlp": wide_nets.TABLE_MLP,
    "mobilenet": wide_nets.MOBILENET,
    "resnet18": wide_nets.RESNET18,
    "signal": wide_nets.SIGNAL,
    "stride2": wide_nets.STRIDE2,
    "pointwise": wide_nets.POINTWISE,
    "large-images": wide_nets.LARGE_IMAGES,
}
#: The names of the reference document, and what they stand for.
PRESETS = {
    "W1": "lenet:train:64",
    "W2": "cifar10:train:100",
    "W3": "mlp:train:64",
    "W4": "vgg:train:16",
    "W5-lenet-1": "lenet:predict:1",
    "W5-lenet-100": "lenet:predict:100",
    "W5-cifar10-1": "cifar10:predict:1",
    "W5-cifar10-100": "cifar10:predict:100",
    "residual": "residual:train:32",
}
#: What is compared with all peers: batch sizes by net, for training and for inference. The nets that are most likely to
#: be slower than a peer come first, as the time may end before the last ones.
TRAINED = {
    "big-mlp": (1024, 256, 64, 1),
    "resnet18": (1, 8, 32),
    "mobilenet": (1, 8, 32),
    "huge-mlp": (64,),
    "large-images": (1, 2, 8),
    "stride2": (1, 32, 64),
    "pointwise": (1, 32, 64),
    "signal": (1, 32),
    "mlp": (1, 64),
    "lenet": (1, 64),
    "cifar10": (1, 100),
    "residual": (1, 32),
    "vgg": (1, 16),
}
PREDICTED = dict.fromkeys(
    (
        "mobilenet",
        "table-mlp",
        "mlp",
        "signal",
        "resnet18",
        "lenet",
        "stride2",
        "pointwise",
        "cifar10",
        "residual",
        "vgg",
    ),
    (1, 8, 32, 100),
) | {"big-mlp": (1, 8, 64, 100, 256, 1024), "huge-mlp": (1, 8), "large-images": (1, 8)}
AGAINST_PEERS = [
    f"{net}:{kind}:{batch}"
    for kind, batches in (("train", TRAINED), ("predict", PREDICTED))
    for net, sizes in batches.items()
    for batch in sizes
]


@dataclass(frozen=True)
class Workload:
    name: str
    net: Net
    training: bool
    batch: int

    @property
    def title(self) -> str:
        return f"{self.net.name}, {'training' if self.training else 'inference'}, batch {self.batch}"

    @property
    def gflop(self) -> float:
        """Per iteration."""
        return self.net.flop(self.batch, self.training) / 1e9


def workload(name: str) -> Workload:
    """From a preset's name, or from words such as "lenet:train:64" and "chain300:train:16"."""
    try:
        net, kind, batch = PRESETS.get(name, name).split(":")
        depth = net.removeprefix("chain")
        made = nets.chain(int(depth)) if depth != net else NETS[net]
        return Workload(name, made, {"train": True, "predict": False}[kind], int(batch))
    except (KeyError, ValueError) as error:
        raise SystemExit(
            f"No workload '{name}'. Choose of {', '.join(PRESETS)}, or say NET:train:BATCH or NET:predict:BATCH with a "
            f"net of {', '.join(NETS)}, or chain and a number of layers."
        ) from error
