"""`ResidualLayer`, of the standard layers' ops."""

from mocha_layers_std import ConstantInitializer, L2Regu, XavierInitializer
from mocha_layers_std.element_wise import Add
from mocha_layers_std.inner_product import InnerProduct
from mocha_layers_std.neurons.tanh import Tanh

from mocha_core.api import Builder, ShapeError, TrainableLayer, Value


class ResidualLayer(TrainableLayer):
    """y = x + tanh(W x + b), of an x of shape (N, features)."""

    def build(self, b: Builder, x: Value) -> tuple[Value, ...]:
        if len(x.shape) != 2:
            raise ShapeError(f"expected a blob with 2 axes (N, features), received {x.spec}.")
        features = x.shape[1]
        weight = b.param("weight", (features, features), XavierInitializer(), L2Regu(1))
        bias = b.param("bias", (features,), ConstantInitializer(0), multiplier=2.0)
        (product,) = b.call(InnerProduct(), x, weight, bias)
        return b.call(Add(), x, Tanh().build(b, product))
