"""One net of all standard layers, and of convolutions and poolings that compiled kernels treat differently."""

from mocha_core import layers, neurons

NEURONS = [neurons.ReLU(), neurons.LReLU(), neurons.Sigmoid(), neurons.Tanh(), neurons.Exponential(), None]
#: Width and height of the kernel, pad, stride, groups.
CONVOLUTIONS = [(1, 0, 1, 1), (3, 1, 1, 1), (5, 2, 1, 2), (7, 3, 1, 1), (3, 1, 2, 1), (5, 0, 2, 3)]


class Chain:
    """Adds layers, each over the blob of the one before."""

    def __init__(self, blob):
        self.blob = blob
        self.layers = []

    def add(self, kind, others=(), **fields):
        name = f"l{len(self.layers)}"
        self.layers.append(kind(name=name, bottoms=[self.blob, *others], tops=[name], **fields))
        self.blob = name


def standard_layers():
    """From the blobs "data", (N, 1, 16, 16), and "label" to losses."""
    chain = Chain("data")
    for (kernel, pad, stride, groups), neuron in zip(CONVOLUTIONS, NEURONS):
        geometry = {"kernel": (kernel, kernel), "pad": (pad, pad), "stride": (stride, stride)}
        chain.add(layers.ConvolutionLayer, n_filter=6, n_group=groups, neuron=neuron, **geometry)
        chain.add(layers.PowerLayer, scale=0.3, shift=0.1)
        if kernel == 1:
            pools = {"kernel": (2, 2), "stride": (1, 1), "pad": (1, 1), "neuron": neurons.ReLU()}
            chain.add(layers.PoolingLayer, **pools)
            chain.add(layers.LRNLayer, kernel=3)
        elif kernel == 3 and stride == 1:
            chain.add(layers.PoolingLayer, kernel=(3, 3), pooling=layers.Pooling.Mean)
            chain.add(layers.LRNLayer, kernel=3, mode=layers.LRNMode.WithinChannel)
    early = chain.blob
    chain.add(layers.ChannelPoolingLayer, kernel=2, stride=2)
    chain.add(layers.ChannelPoolingLayer, kernel=2, pooling=layers.Pooling.Mean)
    for neuron in NEURONS:
        chain.add(layers.InnerProductLayer, output_dim=10, neuron=neuron)
    chain.add(layers.DropoutLayer, ratio=0.3)
    chain.add(layers.InnerProductLayer, output_dim=10)
    score = chain.blob
    chain.add(layers.SoftmaxLayer)
    probabilities = chain.blob
    chain.add(layers.PowerLayer, power=2, shift=1.5)
    for operation in layers.ElementWise:
        chain.add(
            layers.ElementWiseLayer, [probabilities if operation != "divide" else chain.blob], operation=operation
        )
    return [
        *chain.layers,
        layers.InnerProductLayer(name="side", output_dim=10, bottoms=[early], tops=["side"]),
        layers.SquareLossLayer(name="square", bottoms=[chain.blob, "side"]),
        layers.MultinomialLogisticLossLayer(name="logistic", bottoms=[probabilities, "label"]),
        layers.SoftmaxLossLayer(name="loss", bottoms=[score, "label"]),
        layers.AccuracyLayer(name="rate", bottoms=[score, "label"]),
    ]
