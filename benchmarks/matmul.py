"""Times matrix products of real nets with `mocha_native.matmul` and with other libraries, on one thread.

    OPENBLAS_NUM_THREADS=1 python benchmarks/matmul.py

The others are NumPy, which calls OpenBLAS, and where they are installed PyTorch, which calls MKL, and `blis`. For each
shape it prints gigaflops by processor time, medians of interleaved rounds, and the ratio of native to the best of the
others, above 1 where native is faster. All write into an array that is there, as in a program.
"""

import argparse
import time
from functools import partial
from importlib.util import find_spec
from statistics import median

import numpy as np
from mocha_native.api import NativeBackend, bind_matmul

#: rows, features, outputs of inner products: MLPs on MNIST, wide ones, the first inner product of AlexNet.
LAYERS = [
    (1, 784, 500), (8, 784, 500), (64, 784, 500), (100, 784, 500), (64, 500, 500), (1, 2048, 2048), (8, 2048, 2048),
    (64, 2048, 2048), (100, 2048, 2048), (256, 2048, 2048), (1024, 2048, 2048), (64, 9216, 4096),
]  # fmt: skip
#: The 20 shapes: those layers forward, and the larger batches backward to data and to weights.
BACKWARD = [(64, 784, 500), (64, 2048, 2048), (256, 2048, 2048), (1024, 2048, 2048)]


def products():
    """Name and both factors of each product; one that is transposed is a view."""
    rng = np.random.default_rng(0)
    for layer in LAYERS:
        rows, features, outputs = layer
        x, w, dy = (
            rng.standard_normal(shape, dtype=np.float32)
            for shape in ((rows, features), (outputs, features), (rows, outputs))
        )
        name = f"{rows}x{features}->{outputs}"
        yield f"{name} forward", x, w.T
        if layer in BACKWARD:
            yield f"{name} data", dy, w
            yield f"{name} weight", dy.T, x


def contestants(backend):
    """By name, what binds the product of two matrices, as NumPy has them, and of its result, to a function."""
    found = {
        "native": lambda a, b, out: bind_matmul(backend, *_plain(a, b), out, **_transposed(a, b)),
        "OpenBLAS": lambda a, b, out: partial(np.matmul, a, b, out=out),
    }
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        found["MKL"] = lambda a, b, out: partial(torch.mm, *map(torch.from_numpy, (a, b)), out=torch.from_numpy(out))
    if find_spec("blis"):
        from blis.py import gemm

        found["BLIS"] = lambda a, b, out: partial(
            gemm, *_plain(a, b), out, trans1=not a.flags.c_contiguous, trans2=not b.flags.c_contiguous
        )
    return found


def _plain(*matrices):
    return [matrix if matrix.flags.c_contiguous else matrix.T for matrix in matrices]


def _transposed(a, b):
    return {"transpose_a": not a.flags.c_contiguous, "transpose_b": not b.flags.c_contiguous}


def seconds(function, times):
    """The processor time of one call."""
    begin = time.thread_time()
    for _ in range(times):
        function()
    return (time.thread_time() - begin) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="products whose name contains this")
    options = parser.parse_args()
    backend = NativeBackend(threads=1)
    bound = contestants(backend)
    print(f"| {backend.isa.name}: product | {' | '.join(bound)} | ratio |")
    print(f"| --- |{' ---: |' * (len(bound) + 1)}")
    ratios = []
    for name, a, b in products():
        if options.only not in name:
            continue
        work = 2e-9 * a.shape[0] * a.shape[1] * b.shape[1]
        out = np.empty((a.shape[0], b.shape[1]), np.float32)
        functions = [bind(a, b, out) for bind in bound.values()]
        times = max(1, int(0.05 / work))
        taken = [[seconds(function, times) for function in functions] for _ in range(options.rounds + 1)][1:]
        rates = [work / median(column) for column in zip(*taken, strict=True)]
        ratios.append(rates[0] / max(rates[1:]))
        print(f"| {name} | {' | '.join(f'{rate:.1f}' for rate in rates)} | {ratios[-1]:.2f} |", flush=True)
    reach = sum(ratio >= 0.95 for ratio in ratios)
    print(f"\n{reach} of {len(ratios)} reach 0.95; the median is {median(ratios):.2f}.")


if __name__ == "__main__":
    main()
