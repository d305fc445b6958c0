from mocha_core import layers, neurons
from mocha_core.testing import LayerTests


class TestSplitLayer(LayerTests):
    cases = {
        f"{n} tops": (layers.SplitLayer(bottoms=["x"], tops=[f"y{i}" for i in range(n)]), [(3, 2, 2)])
        for n in (1, 2, 3)
    } | {"neuron": (layers.SplitLayer(bottoms=["x"], tops=["y", "z"], neuron=neurons.ReLU()), [(3, 4)])}

    wrong = {"no bottom": (lambda: layers.SplitLayer(tops=["y"]), [], "bottom")}

    def expected(self, layer, bottoms, parameters):
        return [bottoms[0].clip(0.0) if layer.neuron else bottoms[0] for _ in layer.tops]
