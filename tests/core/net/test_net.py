"""What a net does and says: runs, blobs, statistics, prediction, and every way to use it wrongly."""

import gc
import re
import threading

import numpy as np
import pytest
from toys import nets
from toys.accuracy import AccuracyLayer
from toys.backends import BACKENDS
from toys.convolution import ConvolutionLayer
from toys.dropout import DropoutLayer
from toys.inner_product import InnerProductLayer
from toys.memory import MemoryLayer
from toys.observe import parameters
from toys.plain import Plain
from toys.sgd import SGD
from toys.softmax_loss import SoftmaxLossLayer
from toys.square_loss import SquareLossLayer

import mocha_core as mocha
from mocha_core.describe.layer import Layer
from mocha_core.describe.parameter import Initializer
from mocha_core.errors import DataError, ShapeError, StateError, TopologyError, UnknownNameError
from mocha_core.graph.value import Role
from mocha_core.net import prediction, runs

IMAGES, LABELS, TARGETS = nets.rows()


@pytest.fixture
def system():
    with mocha.System(Plain(), dtype="float64", seed=3) as system:
        yield system


@pytest.fixture
def net(system):
    return mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses(), *nets.accuracy()])


def dense(bottom="data", top="x", dim=3, **options):
    return InnerProductLayer(name=top, output_dim=dim, bottoms=[bottom], tops=[top], **options)


def labelled(labels, batch=6):
    arrays = (IMAGES[: len(labels)], np.asarray(labels))
    return MemoryLayer(name="data", batch_size=batch, arrays=arrays)


# Building.


def test_wrong_shapes_name_layer_blob_and_both_shapes(system):
    message = r"SquareLossLayer\(loss\) in net 'n', bottoms 'x' float64\[6, 4\], 'target' float64\[6, 3\]: "
    with pytest.raises(ShapeError, match=message):
        mocha.Net("n", system, [nets.data(), dense(dim=4), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    flat = ConvolutionLayer(name="conv", n_filter=2, bottoms=["x"], tops=["c"])
    with pytest.raises(
        ShapeError, match=r"ConvolutionLayer\(conv\) in net 'n', bottoms 'x' float64\[6, 3\]: .*four axes"
    ):
        mocha.Net("n", system, [nets.data(), dense(), flat])


def test_wrong_numbers_of_bottoms_and_tops(system):
    with pytest.raises(TopologyError, match=r"SquareLossLayer\(l\) in net 'n', bottoms 'data' .*missing 1 required"):
        mocha.Net("n", system, [nets.data(), SquareLossLayer(name="l", bottoms=["data"])])
    two = InnerProductLayer(name="two", output_dim=3, bottoms=["data"], tops=["a", "b"])
    with pytest.raises(TopologyError, match=r"InnerProductLayer\(two\) .*: expected 1 tops, received 2 \(a, b\)"):
        mocha.Net("n", system, [nets.data(), two])
    few = MemoryLayer(name="data", batch_size=2, arrays=nets.rows(4), tops=("data", "label"))
    with pytest.raises(ShapeError, match=r"MemoryLayer\(data\) .*each of the 3 arrays of its source, received 2 tops"):
        mocha.Net("n", system, [few])


def test_a_net_needs_data(system):
    with pytest.raises(TopologyError, match="Net 'n' has no data layer"):
        mocha.Net("n", system, [CellLayer(name="c", tops=["c"])])


class CellLayer(Layer):
    def build(self, b):
        return (b.cell("iteration"),)


def test_sharing_parameters_of_another_shape(system):
    layers = [nets.data(), dense(top="a", param_key="w"), dense("a", "b", param_key="w")]
    with pytest.raises(
        ShapeError,
        match=r"InnerProductLayer\(b\).*shares parameter 'a___weight' of shape \(3, 128\), but needs shape \(3, 3\)",
    ):
        mocha.Net("n", system, layers)
    assert not system.states_of(layers[1]), "a net that could not be built leaves nothing behind"
    mocha.Net("n", system, [nets.data(), dense("data", "z", param_key="w", dim=2)])


def test_two_parameters_of_one_name_in_files(system):
    """A snapshot of the second net would hold one of them only."""
    mocha.Net("first", system, [nets.data(), dense(top="a", param_key="shared")])
    layers = [nets.data(), dense(top="b", param_key="shared"), dense(top="a")]
    for order in (layers, layers[::-1]):
        with pytest.raises(TopologyError, match=r"in net 'n'.*'a___weight' in files, too.* Rename the layer 'a'"):
            mocha.Net("n", system, order)
    net = mocha.Net("n", system, [*layers[:2], dense(top="c")])
    assert set(net.states) == {"a___weight", "a___bias", "c___weight", "c___bias"}


def test_a_net_that_cannot_be_built_closes_its_sources(system):
    opened = []

    class Watched(MemoryLayer):
        def open(self, seed):
            opened.append(super().open(seed))
            return opened[-1]

    data = Watched(name="data", batch_size=2, arrays=nets.rows(4), tops=("data", "label", "target"))
    with pytest.raises(UnknownNameError, match=r"Net 'n' has no blob 'y'. It has: data, label, target, x\."):
        mocha.Net("n", system, [data, dense()], keep=["y"])
    assert opened[0].closed
    with pytest.raises(mocha.MochaError, match="expected keep to be a list of blob names"):
        mocha.Net("n", system, [data, dense()], keep="x")


def test_an_initializer_that_fails_leaves_nothing_behind(system):
    """The layer's next net has parameters of its own, and not zeros that count as initialized."""

    class Moody(Initializer):
        fails = True

        def initialize(self, shape, random):
            if self.fails:
                raise RuntimeError("not today")
            return np.ones(shape)

    class Scale(Layer):
        initializer: Moody

        def build(self, b, x):
            return (b.param("scale", (3,), self.initializer),)

    moody = Moody()
    layers = [nets.data(), Scale(name="scale", initializer=moody, bottoms=["data"], tops=["y"])]
    with pytest.raises(RuntimeError, match="not today"):
        mocha.Net("n", system, layers)
    moody.fails = False
    assert mocha.Net("n", system, layers).parameters["scale"]["scale"].numpy().tolist() == [1, 1, 1]


def test_nets_without_anything_to_learn(system):
    with pytest.raises(TopologyError, match="Net 'n' cannot be trained: it has no loss layer"):
        SGD(parameters()).solve(mocha.Net("n", system, [nets.data(), dense()]))
    net = mocha.Net("n", system, [nets.data(), dense(), SquareLossLayer(bottoms=["x", "target"])])
    net.freeze("x")
    with pytest.raises(TopologyError, match="Net 'n' has nothing to learn"):
        SGD(parameters()).solve(net)
    with pytest.raises(UnknownNameError, match=r"Net 'n' has no layer 'y'\. It has: data, x, square-loss"):
        net.freeze("y")
    net.unfreeze()
    SGD(parameters()).solve(net)


# Running.


def test_forward_and_backward(net):
    with pytest.raises(StateError, match=r"Net 'net' has not run yet\. Call net.forward\(\) first"):
        net.backward()
    with pytest.raises(StateError, match="has not run yet"):
        net.blobs["ip1"].numpy()
    objective = net.forward()
    assert objective == pytest.approx(float(net.blobs["loss"].numpy()) + float(net.blobs["side-loss"].numpy()) / 2)
    np.testing.assert_array_equal(net.blobs["data"].numpy(), IMAGES[:6].astype(np.float64))
    net.backward()
    assert np.abs(net.gradient("conv1", "filter")).max() > 0
    net.forward(mocha.Phase.TEST)
    with pytest.raises(StateError, match=r"call net.forward\(\) right before net.backward\(\)"):
        net.backward()


def test_a_prediction_leaves_the_net_as_it_is(net):
    net.forward()
    blobs = {name: net.blobs[name].numpy() for name in net.blobs}
    ran, statistics = net.program(), net.statistics()
    net.predict(IMAGES + 1, "scores")
    assert (net.program(), net.statistics()) == (ran, statistics)
    for name, contents in blobs.items():
        np.testing.assert_array_equal(net.blobs[name].numpy(), contents)
    net.backward()
    assert np.abs(net.gradient("conv1", "filter")).max() > 0


@pytest.mark.parametrize("name", BACKENDS)
def test_backward_may_be_run_again(name):
    """Also after a blob was changed, and back: nothing that backward reads is lost in it."""
    with mocha.System(BACKENDS[name](), dtype="float64", seed=3) as system:
        net = mocha.Net("net", system, [nets.data(), *nets.body(), *nets.losses()])
        net.forward()
        seen = []
        for factor in (1, 2, 0.5):
            net.blobs["side"].set(net.blobs["side"].numpy() * factor)
            net.backward()
            seen.append({f"{la}.{n}": net.gradient(la, n) for la, group in net.parameters.items() for n in group})
    first, other, again = seen
    assert not np.array_equal(first["side.weight"], other["side.weight"])
    for key, gradient in first.items():
        np.testing.assert_array_equal(gradient, again[key], err_msg=key)


def test_blobs_are_a_mapping_of_windows(net):
    assert set(net.blobs) == {"data", "label", "target", "conv1", "pool1", "conv2", "ip1", "half", "tied1", "tied2",
                              "scores", "square", "side", "loss", "side-loss"}  # fmt: skip
    blob = net.blobs["conv1"]
    assert (blob.shape, blob.dtype, repr(blob)) == ((6, 3, 6, 6), np.float64, "<Blob conv1: float64[6, 3, 6, 6]>")
    net.forward()
    np.testing.assert_array_equal(np.asarray(blob), blob.numpy())
    np.testing.assert_array_equal(np.from_dlpack(blob), blob.numpy())
    assert np.asarray(blob, dtype="float32").dtype == np.float32
    with pytest.raises(
        UnknownNameError, match=r"Net 'net' has no blob 'conv9'. Did you mean 'conv1'\? It has: data, label"
    ):
        net.blobs["conv9"]
    with pytest.raises(ShapeError, match=r"Blob 'conv1': expected an array of shape \(6, 3, 6, 6\), received \(3,\)"):
        blob.set(np.zeros(3))


def test_parameters_read_write_and_check(net):
    weight = net.parameters["scores"]["weight"]
    assert set(net.parameters) == {"conv1", "conv2", "ip1", "tied1", "tied2", "scores", "side"}
    assert net.parameters["tied1"]["weight"] is net.parameters["tied2"]["weight"]
    assert "tied2___weight" not in net.states
    assert "norm___mean" in net.states
    weight.set(np.ones((3, 5)))
    assert np.asarray(weight).sum() == 15
    assert repr(weight) == "<Parameter scores___weight: float64[3, 5]>"
    with pytest.raises(ShapeError, match=r"Parameter 'scores___weight': expected .*\(3, 5\), received \(2,\)"):
        weight.set([1, 2])


def weights(system, *names):
    """Those of nets with layers of their own that have the same names."""
    return [mocha.Net(n, system, [nets.data(), dense()]).parameters["x"]["weight"].numpy() for n in names]


def test_equal_seeds_give_equal_parameters(system):
    first, second = weights(system, "first", "second")
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        for found, expected in zip(weights(other, "a", "b"), (first, second), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg="the order of layers of one name decides")
    with mocha.System(Plain(), dtype="float64", seed=4) as other:
        assert not np.array_equal(first, *weights(other, "first"))


def test_members_of_an_ensemble_begin_with_different_parameters(system):
    members = weights(system, "first", "second", "third")
    assert len({array.tobytes() for array in members}) == 3
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        net = mocha.Net("n", other, [nets.data(), dense(top="y"), dense()])
        np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), members[0], err_msg="of another name")


def test_a_net_that_could_not_be_built_changes_no_later_parameters(system):
    bad = SquareLossLayer(name="loss", bottoms=["x", "label"])
    with pytest.raises(ShapeError):
        mocha.Net("bad", system, [nets.data(), dense(), bad])
    with mocha.System(Plain(), dtype="float64", seed=3) as other:
        np.testing.assert_array_equal(*weights(system, "n"), *weights(other, "n"))


# Prediction.


def test_predict_takes_any_number_of_rows(net):
    whole = net.predict(IMAGES, "scores", batch_size=20)
    for batch in (None, 1, 3, 7, 50):
        np.testing.assert_allclose(net.predict(IMAGES, "scores", batch_size=batch), whole, rtol=1e-10, atol=1e-13)
    batches = {program.plan.batch for _, program in net.runs.programs()}
    assert batches == {1, 2, 4, 6, 16, 32}, "powers of two, and the data layer's"
    assert net.predict(IMAGES[:0], "scores").shape == (0, 3)
    assert net.predict({"data": IMAGES[:1]}, "pool1").shape == (1, 3, 3, 3)
    assert net.feeds["data"].cursor == 0


@pytest.mark.parametrize("name", ["data", "pool1", "scores"])
def test_a_prediction_is_nobody_elses(net, name):
    images = IMAGES[:4].copy()
    first = net.predict(images, name)
    kept = first.copy()
    net.predict(images + 1, name)
    np.testing.assert_array_equal(first, kept)
    first[...] = 0
    np.testing.assert_array_equal(images, IMAGES[:4])
    np.testing.assert_array_equal(net.predict(images, name), kept)


def test_predict_says_what_it_wants(net, system):
    with pytest.raises(UnknownNameError, match=r"Net 'net' has no blob 'score'"):
        net.predict(IMAGES, "score")
    with pytest.raises(
        ShapeError, match=r"Net 'net', blob 'data': expected an array of shape \(any, 2, 8, 8\), received \(2, 8, 8\)"
    ):
        net.predict(IMAGES[0], "scores")
    with pytest.raises(ShapeError, match="expected a dict of arrays for data, label, received one array"):
        net.predict(IMAGES, "loss")
    with pytest.raises(ShapeError, match="expected a dict of arrays for data, received images"):
        net.predict({"images": IMAGES}, "scores")
    with pytest.raises(ShapeError, match=r"blob 'label': expected an array of shape \(20\), received \(3,\)"):
        net.predict({"data": IMAGES, "label": LABELS[:3]}, "loss")
    with pytest.raises(ShapeError, match=r"Net 'net': expected a blob with a row for each .*'loss' has shape \(\)"):
        net.predict({"data": IMAGES, "label": LABELS}, "loss")
    for size in (-2, 0):
        with pytest.raises(mocha.MochaError, match=f"expected batch_size to be an integer >= 1, received {size}"):
            net.predict(IMAGES, "scores", batch_size=size)
    for wrong in (3.0, {}, {"data": 3.0}):
        with pytest.raises(ShapeError):
            net.predict(wrong, "scores")


# Validation and statistics.


def test_an_epoch_covers_each_row_once(net):
    """20 rows in batches of 6: the last batch has two, and the cursor stays."""
    net.forward()
    cursor = net.feeds["data"].cursor
    loss = net.forward_epoch()
    scores, side = net.predict(IMAGES, "scores"), net.predict(IMAGES, "side")
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -logs[np.arange(20), LABELS].mean() + 0.5 * ((side - TARGETS) ** 2).sum() / 2 / 20
    assert loss == pytest.approx(expected, rel=1e-10)
    right = (scores.argmax(1) == LABELS).mean()
    assert net.statistics() == {"accuracy-accuracy": pytest.approx(right)}
    assert net.show_statistics() == [f"Accuracy (avg over 20) = {right:.4%}"]
    assert net.feeds["data"].cursor == cursor
    net.forward_epoch()
    assert net.statistics() == {"accuracy-accuracy": pytest.approx(right)}, "an epoch starts anew"


def test_statistics_add_up_until_they_are_reset(system):
    layers = [nets.data(), dense(), AccuracyLayer(name="acc", bottoms=["x", "label"])]
    net = mocha.Net("net", system, layers)
    assert np.isnan(net.statistics()["acc-accuracy"])
    for _ in range(2):
        net.forward()
    assert "(avg over 12)" in net.show_statistics()[0]
    net.reset_statistics()
    net.forward()
    assert "(avg over 6)" in net.show_statistics()[0]


# Faults.


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0, 0], r"Layer 'loss' in net 'n': expected labels 0 to 2, received 3"),
        ([0, 1, -1, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels 0 to 2, received -1"),
        ([0, 1, 1.5, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels to be whole numbers .*received 1.5"),
        ([0, 1, np.nan, 2, 0, 0], r"Layer 'loss' in net 'n': expected labels to be whole numbers .*received nan"),
    ],
)
def test_a_bad_label_names_the_layer_and_changes_no_parameter(system, labels, message):
    layers = [labelled(labels), dense(), SoftmaxLossLayer(name="loss", bottoms=["x", "label"])]
    net = mocha.Net("n", system, layers)
    before = net.parameters["x"]["weight"].numpy()
    for run in (net.forward, net.forward_epoch, lambda: SGD(parameters()).solve(net)):
        with pytest.raises(DataError, match=message):
            run()
    np.testing.assert_array_equal(net.parameters["x"]["weight"].numpy(), before)


def test_rows_that_do_not_count_may_have_any_label(system):
    """Seven rows in batches of six: five of the second batch repeat the last row and count for nothing."""
    layers = [labelled([0, 1, 2, 0, 1, 2, 1]), dense(), SoftmaxLossLayer(name="loss", bottoms=["x", "label"])]
    net = mocha.Net("n", system, layers)
    scores = net.predict(IMAGES[:7], "x")
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -logs[np.arange(7), [0, 1, 2, 0, 1, 2, 1]].mean()
    assert net.forward_epoch() == pytest.approx(expected, rel=1e-12)


# Ends.


def test_a_destroyed_net_says_so_and_its_parameters_live_on(system):
    shared = dense()
    data = nets.data(prefetch=True)
    net, other = (mocha.Net(n, system, [data, shared]) for n in ("net", "other"))
    net.forward()
    weight = net.parameters["x"]["weight"].numpy()
    net.destroy()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
    assert net.feeds["data"].source.closed
    for run in (net.forward, net.forward_epoch, lambda: net.predict(IMAGES, "x")):
        with pytest.raises(StateError, match=r"Net 'net' was destroyed\. Build a new Net"):
            run()
    with pytest.raises(StateError):
        net.blobs["x"].numpy()
    np.testing.assert_array_equal(other.parameters["x"]["weight"].numpy(), weight)
    other.forward()
    other.destroy()


def test_a_closed_system_says_so():
    with mocha.System(Plain()) as system:
        net = mocha.Net("net", system, [nets.data(), dense()])
        net.forward()
        weight = net.parameters["x"]["weight"]
    for run in (net.forward, lambda: net.predict(IMAGES, "x"), weight.numpy, lambda: weight.set(np.zeros((3, 128))),
                lambda: mocha.Net("late", system, [nets.data(), dense()])):  # fmt: skip
        with pytest.raises(StateError, match="This System is closed"):
            run()


def test_predictions_compile_for_a_few_sizes_only_and_leave_training_programs_alone(system, compiled):
    net = mocha.Net("net", system, [nets.data(), dense(), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    solver = SGD(parameters(max_iter=1))
    solver.solve(net)
    net.forward_epoch()
    compiled.clear()
    for size in (*range(1, 21), *range(20, 0, -1)):
        net.predict(IMAGES[:size], "x")
        net.predict(IMAGES, "x", batch_size=size)
    assert sorted(compiled) == [1, 2, 4, 6, 8, 16]
    compiled.clear()
    solver.parameters = parameters(max_iter=2)
    solver.solve(net)
    net.forward_epoch()
    assert not compiled


def chain(system, n):
    tops = [f"x{i}" for i in range(n)]
    layers = [dense(bottom, top) for bottom, top in zip(["data", *tops], tops, strict=False)]
    return mocha.Net("net", system, [nets.data(), *layers, SquareLossLayer(name="loss", bottoms=[tops[-1], "target"])])


def by_output(net, solvers, i):
    net.predict(IMAGES[: 1 + i % 20], f"x{i}")


def by_frozen_layers(net, solvers, i):
    net.unfreeze()
    net.freeze(f"x{i}")
    net.forward()
    net.backward()


def by_solver(net, solvers, i):
    solver = solvers[i]
    solver.parameters = parameters(max_iter=solver.state.iteration + 1)
    solver.solve(net)


@pytest.mark.parametrize("use", [by_output, by_frozen_layers, by_solver])
def test_what_is_varied_in_turns_is_compiled_once(system, compiled, use):
    net, solvers = chain(system, 30), [SGD(parameters(max_iter=1)) for _ in range(30)]
    for i in range(30):
        use(net, solvers, i)
    assert compiled
    compiled.clear()
    for i in range(30):
        use(net, solvers, i)
    assert not compiled


@pytest.mark.parametrize("use", [by_output, by_frozen_layers])
def test_only_so_many_programs_are_kept(system, monkeypatch, use):
    for module in (runs, prediction):
        monkeypatch.setattr(module, "KEPT_BYTES", 0)
    net = chain(system, 30)
    for i in range(30):
        use(net, [], i)
    assert 1 <= len(net.runs.programs()) <= 30 // 2


def test_programs_end_with_their_solver(system):
    net = mocha.Net("net", system, [nets.data(), dense(), SquareLossLayer(name="loss", bottoms=["x", "target"])])
    for _ in range(3):
        SGD(parameters(max_iter=1)).solve(net)
    net.forward()
    gc.collect()
    slots = [value for value in system.storage._buffers if value.role is Role.SLOT]
    assert [use for use, _ in net.runs.programs()] == ["train"]
    assert not slots


def test_freezing_in_turns_compiles_twice(system, compiled):
    net = mocha.Net("net", system, [nets.data(), dense(top="h"), dense("h"),
                                    SquareLossLayer(name="loss", bottoms=["x", "target"])])  # fmt: skip
    solver = SGD(parameters(max_iter=1))
    compiled.clear()
    for turn in range(6):
        net.unfreeze()
        net.freeze("hx"[turn % 2], "loss")
        solver.parameters = parameters(max_iter=turn + 1)
        solver.solve(net)
    assert len(compiled) == 2


@pytest.fixture
def compiled(monkeypatch):
    """The batch of each program that is compiled."""
    batches = []
    compile = Plain.compile
    monkeypatch.setattr(Plain, "compile", lambda self, p, s: (batches.append(p.batch), compile(self, p, s))[1])
    return batches


def test_a_net_without_a_loss_has_no_objective(system):
    net = mocha.Net("net", system, [nets.data(), dense(), AccuracyLayer(name="acc", bottoms=["x", "label"])])
    assert np.isnan(net.forward())
    assert np.isnan(net.forward_epoch())
    assert net.statistics()["acc-accuracy"] == (net.predict(IMAGES, "x").argmax(1) == LABELS).mean()


def test_listings(net):
    text = str(net)
    assert "NAME: net" in text
    assert "BACKEND: plain" in text
    assert " *** ConvolutionLayer(conv1)\n    Inputs ----" in text
    assert "        conv1: 6 x 3 x 6 x 6" in text
    net.forward()
    summary = net.summary()
    assert re.search(r"^conv1 +ConvolutionLayer +conv1 6 x 3 x 6 x 6 +57$", summary, re.MULTILINE)
    count = sum(p.value.spec.size for p in {id(p): p for g in net.parameters.values() for p in g.values()}.values())
    assert f"{count:,} parameters" in summary


def test_each_forward_draws_another_mask_which_the_cursor_decides(system):
    drop = DropoutLayer(name="drop", ratio=0.5, bottoms=["data"], tops=["dropped"])
    net = mocha.Net("net", system, [nets.data(6, 6), drop])
    masks = []
    for cursor in (0, 6, 0):
        net.feeds.first.seek(cursor)
        net.forward()
        masks.append(net.blobs["dropped"].numpy() != 0)
    assert np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[1])
