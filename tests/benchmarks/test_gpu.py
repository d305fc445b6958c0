"""The page of a GPU's results: who is compared with whom, and what becomes of those for whom there was no time."""

from argparse import Namespace

from harness.contestants import CONTESTANTS
from harness.rounds import Times
from harness.sections import gpu
from harness.workloads import workload


def measured(**seconds):
    """LeNet's results, of contestants whose names are written with underscores."""
    results = gpu.Measured(None, workloads=[workload("W1")], threads=[1])
    for name, spent in seconds.items():
        entry = CONTESTANTS[name.replace("_", "-")]
        results.entries.append(entry)
        results.times["W1", entry.name, 1] = Times([spent] * 3)
    return results


def test_mocha_is_compared_with_the_fastest_pytorch_of_the_same_precision():
    results = measured(
        cuda_tf32=5e-5, torch_graph_tf32=1e-4, torch_eager_tf32=9e-4, cuda_float32=1e-4, torch_graph_float32=1.5e-4
    )
    results.host["W1", "cuda-tf32"] = 4e-6
    lines = gpu.goals(results).splitlines()
    assert lines[2].endswith(
        "TF32 | 2.00x (2.00 to 2.00) | PyTorch CUDA graph, TF32, 1 thread(s) | 1.5x | 20,000 | 12,000 | 4.00 |"
    )
    assert lines[3].endswith(
        "float32 | 1.50x (1.50 to 1.50) | PyTorch CUDA graph, float32, 1 thread(s) | 1.5x | 10,000 | 12,000 |  |"
    )
    assert len(lines) == 4
    assert "| W1 | PyTorch eager, TF32 | 1,111 | 1,111 to 1,111 | 900 |  |" in gpu.details(results)


def test_mocha_alone_is_shown_without_a_ratio():
    assert "TF32 |  |  | 1.5x | 20,000 | 12,000 |  |" in gpu.goals(measured(cuda_tf32=5e-5))


def test_workloads_for_which_there_is_no_time_are_named():
    page = gpu.run(Namespace(contestants="cuda-tf32", workloads="W1,W2", rounds=9, seconds=0.25, minutes=0))
    assert "- W1: the time was over\n- W2: the time was over" in page


def test_the_usual_contestants_end_with_the_compiler():
    names = [entry.name for entry in gpu.USUAL]
    assert names[0] == "cuda-tf32"
    assert names[-1] == "torch-compile-tf32"
    assert not [entry for entry in gpu.USUAL if entry.enters(workload("W5-lenet-1"))]
