"""`System("native", tune=True)`: kernels are chosen by what they take, and times are kept for later processes."""

import numpy as np
import pytest
from mocha_native import tuning

import mocha_core as mocha
from mocha_core import layers, solvers
from mocha_core.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(tuning.VARIABLE, str(tmp_path / "times"))
    monkeypatch.setattr(tuning, "SECONDS", 0.0)
    return tmp_path / "times"


def net_of(batch=24, dtype="float32", backend="native", **options):
    system = mocha.System(backend, dtype=dtype, seed=3, **options)
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((batch, 3, 10, 10)).astype(dtype), rng.integers(0, 4, batch).astype("float64")]
    source = layers.MemoryDataLayer(name="source", data=data, batch_size=batch)
    conv1 = layers.ConvolutionLayer(name="conv1", n_filter=16, kernel=(3, 3), bottoms=["data"], tops=["conv1"])
    conv2 = layers.ConvolutionLayer(name="conv2", n_filter=32, kernel=(3, 3), bottoms=["conv1"], tops=["conv2"])
    ip = layers.InnerProductLayer(name="ip", output_dim=4, bottoms=["conv2"], tops=["ip"])
    loss = layers.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])
    return mocha.Net("net", system, [source, conv1, conv2, ip, loss])


def train(net, iterations=3):
    solvers.SGD(mocha.SolverParameters(max_iter=iterations, lr_policy=0.01, momentum=0.9)).solve(net)


def kernels(net):
    """By layer, what computes its convolution forward."""
    return {use.layer: use.kernel for use in net.program().kernels() if use.op == "convolution"}


@pytest.mark.parametrize(
    "fastest", ["Convolution", "Winograd", "SmallConvolution", "SmallWinograd", "ProductConvolution"]
)
def test_the_fastest_kernel_is_chosen(fastest, monkeypatch):
    """Whatever the estimates say."""
    monkeypatch.setattr(tuning.Tuner, "seconds", lambda self, kernel: 1 + (type(kernel).__name__ != fastest))
    assert kernels(net_of(tune=True)) == dict.fromkeys(("conv1", "conv2"), fastest)


def test_the_same_numbers(folder):
    results = []
    for options in ({"backend": "cpu"}, {"tune": True}):
        net = net_of(dtype="float64", **options)
        train(net)
        results.append({name: np.array(state) for name, state in net.states.items()})
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert len({path.name.partition("-")[0] for path in folder.iterdir()}) >= 4


def test_another_process_measures_nothing(folder, monkeypatch):
    train(first := net_of(tune=True))
    measured = []
    monkeypatch.setattr(tuning, "least_seconds", lambda run: measured.append(run) or 1.0)
    train(second := net_of(tune=True))
    assert not measured
    assert kernels(second) == kernels(first)
    assert {name: np.array(s).tobytes() for name, s in second.states.items()} == {
        name: np.array(s).tobytes() for name, s in first.states.items()
    }
    assert all(0 < float(path.read_text()) < 1 for path in folder.iterdir())


@pytest.mark.parametrize("damaged", ["", "soon", "nan", "-1.0", "inf", "\x00\xff"])
def test_a_damaged_time_is_measured_anew(damaged, folder):
    train(net_of(tune=True), 1)
    for path in folder.iterdir():
        path.write_text(damaged, "utf-8")
    train(net_of(tune=True), 1)
    assert all(0 < float(path.read_text()) < 1 for path in folder.iterdir())


def test_other_shapes_gradients_threads_and_instructions_are_measured_by_themselves(folder, monkeypatch):
    monkeypatch.setattr(tuning, "least_seconds", lambda run: 1.0)
    net_of(tune=True).program()

    def more(**options):
        before = len(list(folder.iterdir()))
        net = net_of(tune=True, **options)
        net.program("ip") if options.get("threads") == 1 else net.program()
        return len(list(folder.iterdir())) - before

    assert more(threads=2) > 0
    assert more(batch=25) > 0
    assert more(threads=1) > 0
    monkeypatch.setenv("MOCHA_NATIVE_ISA", "baseline")
    assert more() > 0


def test_without_a_folder_it_measures_in_each_process(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(tuning.VARIABLE, str(tmp_path / "file" / "times"))
    train(net_of(tune=True), 1)


def test_without_it_nothing_is_measured(folder):
    train(net_of(), 1)
    assert not folder.exists()


def test_something_else_than_a_bool_is_refused():
    with pytest.raises(ConfigurationError, match=r"expected tune to be .*bool.*received 'yes'"):
        mocha.System("native", tune="yes")
