"""Builds a net, trains for one iteration, and says so: `python -m harness.first NAME THREADS WORKLOAD`.

Nothing else is imported, so that this is what a user's script takes.
"""

import sys
from importlib import import_module

from harness.contestants import CONTESTANTS
from harness.workloads import workload


def main(name: str, threads: int, net: str) -> None:
    entry = CONTESTANTS[name]
    module = import_module(f"harness.contestants.{entry.module}")
    module.make(entry.variant, workload(net), threads).check(1)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
