"""How long `import mocha_core` takes beyond starting the interpreter; the limit is 60 ms.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

RUNS = 31
LIMIT = 0.060


def seconds(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - start


def main() -> int:
    programs = ("pass", "import mocha_core")
    for program in programs:
        seconds(program)  # Fills the caches of bytecode and of the disk.
    # In turn, so that a slower moment of the machine meets both.
    times = list(zip(*([seconds(program) for program in programs] for _ in range(RUNS))))
    medians = [statistics.median(column) for column in times]
    for program, median in zip(programs, medians):
        print(f"{program:18} {1000 * median:6.1f} ms, median of {RUNS}")
    extra = medians[1] - medians[0]
    print(f"{'difference':18} {1000 * extra:6.1f} ms, limit {1000 * LIMIT:.0f} ms")
    return int(extra > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
