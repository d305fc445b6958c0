"""Requests of mixed sizes that four threads send to one net, against the same requests from one thread.

Each round runs the same requests from one thread and from four, in an order that changes, and the result is the
median of the rounds' ratios, so that a busy machine does not matter much. All answers are compared with those of one
thread.

    python benchmarks/threads.py [BACKEND[=THREADS]...]
"""

import statistics
import sys
import threading
import time

import numpy as np
from check_finite import lenet

import mocha_core as mocha
from mocha_core import layers, neurons

THREADS, REQUESTS, ROUNDS, LARGEST = 4, 4000, 10, 64


def mlp(hidden=500):
    return (784,), [
        layers.InnerProductLayer(name="h", output_dim=hidden, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["h"], tops=["scores"]),
    ]


NETS = {"LeNet": lenet(), "784-500-10": mlp(), "784-32-10": mlp(32)}


def seconds(threads, ask, requests):
    """The time that the threads take together; each asks every `threads`-th request."""
    ready = threading.Barrier(threads + 1)

    def serve(first):
        ready.wait()
        for request in requests[first::threads]:
            ask(request)

    serving = [threading.Thread(target=serve, args=(i,)) for i in range(threads)]
    for thread in serving:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in serving:
        thread.join()
    return time.perf_counter() - start


def measure(title, backend, options, shape, body):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((LARGEST, *shape)).astype("float32")
    sizes = rng.integers(1, LARGEST + 1, REQUESTS)
    with mocha.System(backend, seed=1, **options) as system:
        data = layers.MemoryDataLayer(name="data", data=[images], tops=["data"], batch_size=LARGEST)
        net = mocha.Net("served", system, [data, *body])
        right = {int(n): net.predict(images[:n], "scores") for n in range(1, LARGEST + 1)}
        wrong = []

        def ask(n):
            if not np.array_equal(net.predict(images[:n], "scores"), right[n]):
                wrong.append(n)

        seconds(THREADS, ask, sizes[: REQUESTS // ROUNDS].tolist())  # compiles a program for each thread
        one, many = [], []
        for round_, part in enumerate(np.split(sizes, ROUNDS)):
            turns = [(1, one), (THREADS, many)]
            for threads, times in turns[:: 1 if round_ % 2 else -1]:
                times.append(seconds(threads, ask, part.tolist()))
        ratio = statistics.median(a / b for a, b in zip(one, many, strict=True))
        rate = [REQUESTS / ROUNDS / statistics.median(times) for times in (one, many)]
        print(
            f"{title:16} {rate[0]:9.0f} {rate[1]:11.0f} {ratio:6.2f} {len(wrong):7}  "
            f"({system.backend.programs_at_once} at once)"
        )


def main():
    print(f"{'net':16} {'1 thread':>9} {f'{THREADS} threads':>11} {'ratio':>6} {'wrong':>7}    requests/s")
    for asked in sys.argv[1:] or ["cpu", "native", "native=1"]:
        backend, _, threads = asked.partition("=")
        print(f"{backend}, {f'threads={threads}' if threads else 'default threads'}")
        for name, (shape, body) in NETS.items():
            measure(name, backend, {"threads": int(threads)} if threads else {}, shape, body)


if __name__ == "__main__":
    main()
