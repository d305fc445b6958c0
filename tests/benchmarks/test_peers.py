"""All contestants compute the same nets, and the page that compares them says what was measured. Nothing is timed."""

import numpy as np
import pytest
from harness.contestants import ALL, CONTESTANTS, FROZEN, chosen, with_mocha
from harness.measure import Results, close, prepare
from harness.rounds import Times
from harness.sections import peers
from harness.workloads import AGAINST_PEERS, NETS, workload

#: Chains of tiny layers say nothing more than one of them, and large nets take seconds.
SLOW = {"huge-mlp", "vgg", "tiny"}
LIGHT = [name for name in NETS if name not in SLOW]


@pytest.fixture(scope="module")
def expected():
    """Mocha's results, computed once for all peers."""
    found = {}

    def results(name):
        if name not in found:
            found[name] = with_mocha.make("cpu", workload(name), 1).check(3)
        return found[name]

    return results


def other(module, package, variant, name):
    pytest.importorskip(package, reason=f"{package} is not installed")
    if module == "with_onnx":
        pytest.importorskip("onnx", reason="onnx is not installed")
    maker = __import__(f"harness.contestants.{module}", fromlist=["make"])
    return maker.make(variant, workload(name), 1).check(3)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize(
    ("module", "package", "variant"),
    [
        ("with_torch", "torch", "eager"),
        ("with_jax", "jax", ""),
        ("with_onnx", "onnxruntime", "onnxruntime"),
        ("with_onnx", "openvino", "openvino"),
    ],
)
def test_peers_predict_what_mocha_does(module, package, variant, name, expected):
    case = f"{name}:predict:3"
    assert close(other(module, package, variant, case), expected(case))


@pytest.mark.parametrize("name", ["signal", "mobilenet", "stride2", "pointwise", "resnet18"])
@pytest.mark.parametrize(("module", "package", "variant"), [("with_torch", "torch", "eager"), ("with_jax", "jax", "")])
def test_peers_train_as_mocha_does(module, package, variant, name, expected):
    case = f"{name}:train:2"
    assert close(other(module, package, variant, case), expected(case))


@pytest.mark.parametrize("name", LIGHT)
def test_scores_are_numbers_that_a_wrong_layer_would_change(name, expected):
    scores = np.array(expected(f"{name}:predict:3"))
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0.01


class Fixed:
    """A worker that finds what it is told to find."""

    def __init__(self, name, found):
        self.entry, self.threads, self.found = CONTESTANTS[name], 1, found
        self.label = self.entry.title

    def ask(self, *command):
        return self.found


@pytest.mark.parametrize(
    ("wrong", "why"), [([1.0, 2.1], "computes something else"), ([1.0, float("nan")], "not finite")]
)
def test_who_computes_wrong_scores_is_left_out_and_named(wrong, why):
    results = Results(peak=None)
    remotes = [Fixed("native", [1.0, 2.0]), Fixed("onnxruntime", wrong), Fixed("openvino", [1.0, 2.001])]
    assert prepare(results, remotes, workload("lenet:predict:8")) == [remotes[0], remotes[2]]
    (line,) = results.left_out
    assert line.startswith("lenet:predict:8: ONNX Runtime")
    assert why in line


def measured(*cases):
    """Results of (workload, contestant, milliseconds of each round, of the processor)."""
    results = Results(peak=None, threads=[1])
    for name, contestant, clock, processor in cases:
        case, entry = workload(name), CONTESTANTS[contestant]
        results.workloads += [] if case in results.workloads else [case]
        results.entries += [] if entry in results.entries else [entry]
        spent = [milliseconds / 1e3 for milliseconds in clock]
        results.times[name, contestant, 1] = Times(spent, [processor / 1e3] * len(spent))
    return results


def test_ratios_are_of_the_same_round():
    # The machine was ten times as slow in the second round.
    (row,) = peers.compared(
        measured(("lenet:predict:1", "native", [1, 10, 2], 1), ("lenet:predict:1", "onnxruntime", [2, 20, 4], 3))
    )
    assert (row.ratio, row.low, row.high, row.processor) == pytest.approx((2, 2, 2, 3))


def test_the_best_peer_counts_and_the_worst_row_comes_first():
    results = measured(
        ("lenet:train:64", "native", [1] * 3, 1),
        ("lenet:train:64", "torch", [4] * 3, 4),
        ("lenet:train:64", "jax", [3] * 3, 3),
        ("mobilenet:predict:1", "native", [4] * 3, 4),
        ("mobilenet:predict:1", "onnxruntime", [1] * 3, 1),
        ("mobilenet:predict:1", "torch", [2] * 3, 2),
    )
    lines = peers.worst_first(peers.compared(results)).splitlines()
    assert lines[2] == (
        "| MobileNet-like, inference, batch 1 | Mocha native | 1 | **0.25** | 0.25 to 0.25 | 0.25 | 4.00 | 1.00 "
        "| ONNX Runtime |"
    )
    assert "| LeNet, training, batch 64 | Mocha native | 1 | 3.00 |" in lines[3]
    assert lines[3].endswith("| JAX jit |")
    summary = peers.summary(peers.compared(results))
    inference = "| Mocha native, inference | 1 | 1 | 1 | 0.25 | 0.25 | 0.25 | MobileNet-like, inference, batch 1 |"
    assert inference in summary
    assert "| Mocha native, training | 1 | 1 | 0 | 3.00 | 3.00 | 3.00 | LeNet, training, batch 64 |" in summary
    results.times["lenet:train:64", "jax", 1].disturbed = 1
    assert "| ? 3.00 |" in peers.worst_first(peers.compared(results))


def test_native_with_avx2_meets_peers_with_avx2_and_those_that_cannot_be_held():
    entries = [CONTESTANTS[n] for n in ("native", "native@avx2", "torch", "torch@avx2", "jax", "jax@avx2", "openvino")]
    assert [e.name for e in peers.rivals(entries, entries[0])] == ["torch", "jax", "openvino"]
    assert [e.name for e in peers.rivals(entries, entries[1])] == ["torch@avx2", "jax@avx2", "openvino"]


def test_the_readme_table_has_both_instruction_sets_and_the_worst_rows():
    results = measured(
        ("lenet:train:64", "native", [1] * 3, 1),
        ("lenet:train:64", "torch", [4] * 3, 4),
        ("lenet:train:64", "native@avx2", [2] * 3, 2),
        ("lenet:train:64", "torch@avx2", [5] * 3, 5),
        ("mobilenet:predict:1", "native", [4] * 3, 4),
        ("mobilenet:predict:1", "torch", [2] * 3, 2),
    )
    assert peers.for_readme(results, peers.compared(results)).splitlines()[2:] == [
        "| LeNet, training, batch 64 | 2.00 | 2.50 x (PyTorch eager) | 1.00 | 4.00 x (PyTorch eager) |",
        "| MobileNet-like, inference, batch 1 (the worst of all) |  |  | 4.00 | 0.50 x (PyTorch eager) |",
    ]


def test_every_row_is_a_workload_and_predicting_peers_do_not_train():
    for name in AGAINST_PEERS:
        case = workload(name)
        assert CONTESTANTS["native"].enters(case)
        assert CONTESTANTS["onnxruntime"].enters(case) is not case.training
    assert len(set(AGAINST_PEERS)) == len(AGAINST_PEERS)


def test_any_instruction_set_of_native_has_a_name():
    for isa in ("baseline", "avx2", "avx512"):
        (entry,) = chosen(f"native@{isa}")
        assert entry.environment["MOCHA_NATIVE_ISA"] == isa
    with pytest.raises(SystemExit, match="No contestant openvino@avx2"):
        chosen("openvino@avx2")


def test_peers_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda entries: [e for e in entries if e.package != "openvino"])
    assert peers.missing() == ["openvino: it is not installed in this environment"]
    assert {e.package for e in [*ALL, *FROZEN]} >= {"torch", "jax", "onnxruntime", "openvino"}
