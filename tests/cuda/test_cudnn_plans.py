"""The real cuDNN makes plans for every convolution of the reference nets, for an H200 that is not there.

`tox -e cuda-plans` installs what that takes, a gigabyte. The file that MOCHA_CUDA_PLANS names gets what there is.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from deviceless_plans import ARITHMETIC
from mocha_cuda.cudnn.problem import Direction, Problem

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))
from harness import nets  # noqa: E402

#: Nets and the batches that they are trained with.
NETS = {
    "LeNet": (nets.LENET, 64),
    "CIFAR-10": (nets.CIFAR10, 100),
    "VGG": (nets.VGG, 16),
    "residual": (nets.RESIDUAL, 32),
}

pytestmark = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.cudnn") is None,
    reason="needs cuDNN, which nvidia-cudnn-cu13 brings (no GPU): tox -e cuda-plans",
)


def convolution(x, w, stride=(1, 1), pad=(0, 0)):
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x[2:], w[2:], stride, pad)]
    return Problem(Direction.FORWARD, x, w, (x[0], w[0], *sizes), stride, pad)


def of_nets():
    seen = {}
    for title, (net, batch) in NETS.items():
        for layer, (x, _) in zip(net.layers, net.shapes()):
            if isinstance(layer, nets.Conv):
                w = (layer.filters, x[0], layer.kernel, layer.kernel)
                problem = convolution((batch, *x), w, pad=(layer.pad, layer.pad))
                seen.setdefault(problem, pytest.param(problem, id=f"{title}-{layer.name}"))
    return list(seen.values())


OTHERS = [
    pytest.param(convolution((1, 1, 28, 28), (20, 1, 5, 5)), id="one-image"),
    pytest.param(convolution((16, 3, 227, 227), (96, 3, 11, 11), stride=(4, 4)), id="AlexNet-conv1"),
    pytest.param(convolution((16, 96, 27, 27), (256, 48, 5, 5), pad=(2, 2)), id="AlexNet-conv2-two-groups"),
    pytest.param(convolution((8, 6, 9, 7), (6, 1, 3, 2), stride=(2, 1), pad=(1, 0)), id="depthwise-uneven"),
    pytest.param(convolution((8, 64, 14, 14), (128, 64, 1, 1), stride=(2, 2)), id="one-by-one"),
    pytest.param(replace(convolution((100, 32, 16, 16), (32, 32, 5, 5), pad=(2, 2)), channels_last=True), id="NHWC"),
    pytest.param(
        Problem(Direction.FORWARD, (8, 16, 20, 20), (32, 16, 3, 3), (8, 32, 16, 16), dilation=(2, 2)), id="dilated"
    ),
]


@pytest.mark.parametrize("problem", [*of_nets(), *OTHERS])
def test_plans(problem, request):
    path = os.pathsep.join(sys.path)
    command = [sys.executable, str(HERE / "deviceless_plans.py"), json.dumps(asdict(problem))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    report(request.node.callspec.id, result)
    assert len(result["found"]) == 5 * len(ARITHMETIC)
    for found in result["found"]:
        # What layers do has its bias; without is for comparison.
        assert found["plans"] > 0, found
        assert found["again"] == found["tried"], found
        assert found["adding"] > 0 or found["name"].startswith("forward +"), found
        assert found["rectified"] == (found["tried"] if "bias" in found["name"] else 0), found


def report(name, result):
    if "MOCHA_CUDA_PLANS" in os.environ:
        with open(os.environ["MOCHA_CUDA_PLANS"], "a") as file:
            file.write(json.dumps({"name": name, **result}) + "\n")
