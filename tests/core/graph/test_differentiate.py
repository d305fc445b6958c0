"""The derived backward: which gradients there are, in which order, and which of them add."""

import pytest
from toys.half import Half
from toys.inner_product import Dot
from toys.pooling import Pooling
from toys.product import Product
from toys.relu import Relu
from toys.square_loss import SquareLoss

from mocha_core.errors import TopologyError
from mocha_core.graph.op import Op
from mocha_core.graph.plan import Half as StepHalf
from mocha_core.graph.plan import Phase, Plan, Section
from mocha_core.graph.value import Role, Value


class Net:
    """A plan with a data blob (6, 4), a target (6, 4) and parameters as they are asked for."""

    def __init__(self):
        self.plan = Plan(Phase.TRAIN, 6)
        self.data, self.target = (Value(name, (6, 4), "float32") for name in ("data", "target"))
        self.valid = Value("valid_rows", (), "int32", Role.CELL)
        self.seed = Value("seed", (), "float32", Role.CELL)
        self.wanted = {}

    def parameter(self, name, shape, wanted=True):
        value = Value(name, shape, "float32", Role.PARAMETER)
        if wanted:
            self.wanted[value] = Value(f"d {name}", shape, "float32", Role.PARAMETER_GRADIENT)
        return value

    def dot(self, x, w, b=None):
        return self.call(Dot(), x, w, b or self.parameter("bias", (4,), wanted=False))

    def call(self, op, *ins):
        return self.plan.call(op, *ins, layer=op.name)[0]

    def loss(self, x):
        return self.call(SquareLoss(), x, self.target, self.valid)

    def differentiate(self, objective):
        self.plan.differentiate(objective, self.seed, self.wanted)
        return [s for s in self.plan.steps if s.section is Section.BACKWARD]


@pytest.fixture
def net():
    return Net()


def test_steps_come_in_reverse_and_only_where_needed(net):
    """Nothing before the first wanted parameter, nothing beside the way to the loss."""
    frozen = net.parameter("frozen", (4, 4), wanted=False)
    w = net.parameter("w", (4, 4))
    x = net.call(Relu(), net.dot(net.data, frozen))
    y = net.call(Relu(), net.dot(x, w))
    net.call(Relu(), y)
    backward = net.differentiate(net.loss(y))
    assert [s.call.op.name for s in backward] == ["toy.square-loss", "toy.relu", "toy.dot"]
    dx, dw, db = backward[-1].outs
    assert (dx, dw, db) == (None, net.wanted[w], None)
    assert not any(flag for s in backward for flag in s.add)


class Sum(Op):
    """a + b, whose gradients are that of the sum."""

    name = "toy.sum"
    backward_reads = ()
    passes_gradient = (0, 1)

    def infer(self, a, b):
        return (a,)

    def backward(self, xp, dy, x, y, wanted):
        return dy[0], dy[0]


def test_a_gradient_that_an_op_passes_on_is_not_copied(net):
    """Where nothing else reads the input: others would add to its gradient."""
    w, v = net.parameter("w", (4, 4)), net.parameter("v", (4, 4))
    x = net.dot(net.data, w)
    y = net.dot(x, v)
    total = net.call(Sum(), x, y)
    _, of_sum, of_y, of_x = net.differentiate(net.loss(total))
    d = net.plan.gradients
    assert d[y] is d[total]
    assert of_sum.outs == (d[x], None)
    assert of_y.ins[0] is d[total]
    assert (of_y.outs[0], of_y.add[0]) == (d[x], True)
    assert of_x.ins[0] is d[x] is not d[total]


def test_a_sum_of_blobs_that_nothing_else_reads_has_no_backward_step(net):
    w, v = net.parameter("w", (4, 4)), net.parameter("v", (4, 4))
    total = net.call(Sum(), net.dot(net.data, w), net.dot(net.data, v))
    backward = net.differentiate(net.loss(total))
    assert [step.call.op.name for step in backward] == ["toy.square-loss", "toy.dot", "toy.dot"]


def test_a_sum_of_a_blob_and_itself_has_both_gradients(net):
    x = net.dot(net.data, net.parameter("w", (4, 4)))
    _, of_sum, _ = net.differentiate(net.loss(net.call(Sum(), x, x)))
    assert of_sum.outs == (net.plan.gradients[x],) * 2
    assert of_sum.add == (False, True)


def test_a_gradient_of_another_shape_is_not_passed_on(net):
    """A sum that repeats one row: its gradient is computed."""
    x, row = net.dot(net.data, net.parameter("w", (4, 4))), net.parameter("row", (1, 4))
    _, of_sum, _ = net.differentiate(net.loss(net.call(Sum(), x, row)))
    assert of_sum.outs == (None, net.wanted[row])


def test_an_index_of_no_input_is_not_passed_on(net):
    class OneInput(Sum):
        name = "toy.one-input"

        def infer(self, a):
            return (a,)

    total = net.call(OneInput(), net.dot(net.data, net.parameter("w", (4, 4))))
    with pytest.raises(TopologyError, match=r"passes_gradient of op 'toy\.one-input' has 1; expected indices of its 1"):
        net.differentiate(net.loss(total))


def test_backward_steps_read_what_the_op_declares(net):
    w = net.parameter("w", (4, 4))
    x = net.dot(net.data, w)
    y = net.call(Relu(), x)
    loss = net.loss(y)
    of_loss, of_relu, of_dot = net.differentiate(loss)
    d = net.plan.gradients
    assert of_loss.ins == (net.seed, y, net.target, net.valid, None)
    assert of_relu.ins == (d[y], None, y)
    assert of_dot.ins[:3] == (d[x], net.data, w)
    assert of_dot.ins[3:] == (None, None)
    assert {s.half for s in (of_loss, of_relu, of_dot)} == {StepHalf.BACKWARD}
    assert d[y].role is Role.GRADIENT


def test_fan_out_adds_to_the_gradient_made_first(net):
    w = net.parameter("w", (4, 4))
    x = net.dot(net.data, w)
    a, b, c = (net.call(Relu(), x) for _ in range(3))
    together = net.call(Product(), net.call(Product(), a, b), c)
    backward = net.differentiate(net.loss(together))
    flags = [s.add[0] for s in backward if s.call.op.name == "toy.relu"]
    assert flags == [False, True, True]
    assert len({s.outs[0] for s in backward if s.call.op.name == "toy.relu"}) == 1


def test_the_same_value_twice_in_one_call_adds(net):
    w = net.parameter("w", (4, 4))
    x = net.dot(net.data, w)
    backward = net.differentiate(net.loss(net.call(Product(), x, x)))
    product = next(s for s in backward if s.call.op.name == "toy.product")
    assert product.outs[0] is product.outs[1] is net.plan.gradients[x]
    assert product.add == (False, True)
    assert net.plan.gradients[x] in product.reads, "adding is reading"


def test_a_tied_parameter_adds_and_accumulation_always_adds(net):
    w = net.parameter("w", (4, 4))
    loss = net.loss(net.dot(net.dot(net.data, w), w))
    backward = net.differentiate(loss)
    assert [s.add[1] for s in backward if s.call.op.name == "toy.dot"] == [False, True]
    again = Net()
    again.plan.minibatches = 2
    w = again.parameter("w", (4, 4))
    backward = again.differentiate(again.loss(again.dot(again.dot(again.data, w), w)))
    dots = [s.add for s in backward if s.call.op.name == "toy.dot"]
    assert dots == [(False, True, False), (False, True, False)], "gradients of blobs are made anew"


def test_views_share_the_gradient_of_their_base(net):
    w = net.parameter("w", (4, 4))
    x = net.dot(net.data, w)
    view = Value("view", (6, 4), "float32", base=x)
    y = net.call(Product(), net.call(Relu(), view), net.call(Relu(), x))
    net.differentiate(net.loss(y))
    gradients = net.plan.gradients
    assert gradients[view].base is gradients[x]
    assert gradients[view].shape == view.shape
    steps = [s for s in net.plan.steps if s.section is Section.BACKWARD and s.call.op.name == "toy.relu"]
    assert [s.add for s in steps] == [(False,), (True,)]


def test_an_output_that_reaches_no_loss_has_no_gradient(net):
    class Both(Op):
        name = "toy.both"

        def infer(self, x):
            return x, x

        def forward(self, xp, x):
            return x, x

        def backward(self, xp, dy, x, y, wanted):
            return (dy[1],)

    w = net.parameter("w", (4, 4))
    _, used = net.plan.call(Both(), net.dot(net.data, w))
    backward = net.differentiate(net.loss(used))
    assert backward[1].ins[:2] == (None, net.plan.gradients[used])


def test_an_op_without_gradient_between_parameter_and_loss_is_an_error(net):
    class Rounded(Op):
        name = "toy.rounded"

        def infer(self, x):
            return (x,)

        def forward(self, xp, x):
            return xp.round(x)

    w = net.parameter("w", (4, 4))
    loss = net.loss(net.call(Rounded(), net.dot(net.data, w)))
    with pytest.raises(TopologyError, match=r"Layer 'toy.rounded' lies between a parameter and a loss.*Freeze"):
        net.differentiate(loss)
    free = Net()
    w = free.parameter("w", (4, 4))
    free.differentiate(free.loss(free.dot(free.call(Rounded(), free.data), w)))
    assert w in free.plan.gradients


def test_a_parameter_that_reaches_no_loss_gets_none(net):
    w, idle = net.parameter("w", (4, 4)), net.parameter("idle", (4, 4))
    net.dot(net.data, idle)
    net.differentiate(net.loss(net.dot(net.data, w)))
    assert w in net.plan.gradients
    assert idle not in net.plan.gradients


def test_prune_keeps_the_ancestors_only(net):
    w = net.parameter("w", (4, 4))
    x = net.dot(net.data, w)
    side = net.call(Relu(), x)
    y = net.call(Half(), x)
    net.loss(side)
    net.plan.inputs = {"data": net.data, "target": net.target}
    net.plan.prune([y])
    assert [s.call.op.name for s in net.plan.steps] == ["toy.dot", "toy.half"]
    assert net.plan.inputs == {"data": net.data}


def test_prune_follows_views_and_saved_outputs(net):
    image = Value("image", (6, 1, 2, 2), "float32")
    (pooled,) = net.plan.call(Pooling(2), image, layer="pool")
    view = Value("view", (6, 1), "float32", base=pooled)
    y = net.call(Relu(), view)
    net.plan.prune([y])
    assert [s.call.op.name for s in net.plan.steps] == ["toy.pooling", "toy.relu"]
    assert len(net.plan.steps[0].outs) == 2
