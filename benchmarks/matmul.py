"""Times matrix products of real nets with `mocha_native.matmul` and with NumPy, on one thread.

    OPENBLAS_NUM_THREADS=1 python benchmarks/matmul.py

For each shape it prints gigaflops by processor time, medians of interleaved rounds: native, NumPy, their ratio, above
1 where native is faster. Native's time includes what a program places once: its workspace and the result.
"""

import argparse
import time
from statistics import median

import numpy as np
from mocha_native import matmul
from mocha_native.backend import NativeBackend

#: rows, features, outputs of inner products: MLPs on MNIST, wide ones, the first inner product of AlexNet.
LAYERS = [
    (1, 784, 500), (8, 784, 500), (64, 784, 500), (100, 784, 500), (64, 500, 500), (1, 2048, 2048), (8, 2048, 2048),
    (64, 2048, 2048), (100, 2048, 2048), (256, 2048, 2048), (1024, 2048, 2048), (64, 9216, 4096),
]  # fmt: skip
#: The 20 shapes: those layers forward, and the larger batches backward to data and to weights.
BACKWARD = [(64, 784, 500), (64, 2048, 2048), (256, 2048, 2048), (1024, 2048, 2048)]


def products():
    """Name, a, b, and which of them is transposed, of each product."""
    rng = np.random.default_rng(0)
    for layer in LAYERS:
        rows, features, outputs = layer
        x, w, dy = (
            rng.standard_normal(shape, dtype=np.float32)
            for shape in ((rows, features), (outputs, features), (rows, outputs))
        )
        name = f"{rows}x{features}->{outputs}"
        yield f"{name} forward", x, w, (False, True)
        if layer in BACKWARD:
            yield f"{name} data", dy, w, (False, False)
            yield f"{name} weight", dy, x, (True, False)


def seconds(function, times):
    """The processor time of one call."""
    begin = time.thread_time()
    for _ in range(times):
        function()
    return (time.thread_time() - begin) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    backend = NativeBackend(threads=1)
    print(f"| {backend.isa.name}: product | native | NumPy | ratio |\n| --- | ---: | ---: | ---: |")
    for name, a, b, (left, right) in products():
        first, second = a.T if left else a, b.T if right else b
        work = 2e-9 * first.shape[0] * first.shape[1] * second.shape[1]
        contestants = (
            lambda: matmul(a, b, transpose_a=left, transpose_b=right, backend=backend),  # noqa: B023 (called at once)
            lambda: first @ second,  # noqa: B023
        )
        times = max(1, int(0.05 / work))
        taken = [[seconds(function, times) for function in contestants] for _ in range(rounds + 1)][1:]
        native, other = (work / median(column) for column in zip(*taken, strict=True))
        print(f"| {name} | {native:.1f} | {other:.1f} | {native / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
