"""Requests of mixed sizes that four threads send to one net, against the same requests from one thread.

Each round sends the same requests from one thread and from four, in an order that changes, and the result is the
median of the rounds' ratios, so that a busy machine does not matter much. The threads live on from round to round, and
wait at a barrier meanwhile: to start and to end them takes as long as hundreds of small predictions. All answers are
compared with those of one thread.

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

THREADS, REQUESTS, ROUNDS, LARGEST = 4, 4000, 7, 64


def mlp(hidden=500):
    return (784,), [
        layers.InnerProductLayer(name="h", output_dim=hidden, neuron=neurons.ReLU(), bottoms=["data"], tops=["h"]),
        layers.InnerProductLayer(name="ip", output_dim=10, bottoms=["h"], tops=["scores"]),
    ]


NETS = {"LeNet": lenet(), "784-500-10": mlp(), "784-32-10": mlp(32)}


class Clients:
    """Threads that send requests; each of them asks every `number`-th one."""

    def __init__(self, number, ask):
        self._ask, self._number, self._requests = ask, number, []
        self._ready, self._done = threading.Barrier(number + 1), threading.Barrier(number + 1)
        self._times = [(0.0, 0.0)] * number
        for i in range(number):
            threading.Thread(target=self._serve, args=(i,), daemon=True).start()

    def seconds(self, requests):
        """From the start of the first thread to the end of the last one."""
        self._requests = requests
        self._ready.wait()
        self._done.wait()
        return max(end for _, end in self._times) - min(start for start, _ in self._times)

    def _serve(self, me):
        while True:
            self._ready.wait()
            start = time.perf_counter()
            for request in self._requests[me :: self._number]:
                self._ask(request)
            self._times[me] = start, time.perf_counter()
            self._done.wait()


def measure(title, backend, options, shape, body):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((LARGEST, *shape)).astype("float32")
    sizes = rng.integers(1, LARGEST + 1, REQUESTS).tolist()
    with mocha.System(backend, seed=1, **options) as system:
        data = layers.MemoryDataLayer(name="data", data=[images], tops=["data"], batch_size=LARGEST)
        net = mocha.Net("served", system, [data, *body])
        right = {n: net.predict(images[:n], "scores").tobytes() for n in range(1, LARGEST + 1)}
        wrong = []

        def ask(n):
            # NumPy would hand over the interpreter's lock to compare arrays.
            if net.predict(images[:n], "scores").tobytes() != right[n]:
                wrong.append(n)

        clients = [Clients(number, ask) for number in (1, THREADS)]
        for each in clients:
            each.seconds(sizes[: REQUESTS // 4])  # compiles a program for each thread
        times = {each: [] for each in clients}
        for round_ in range(ROUNDS):
            for each in clients[:: 1 if round_ % 2 else -1]:
                times[each].append(each.seconds(sizes))
        ratio = statistics.median(one / many for one, many in zip(*times.values(), strict=True))
        rate = [REQUESTS / statistics.median(each) for each in times.values()]
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
