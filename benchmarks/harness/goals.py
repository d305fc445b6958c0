"""What the native backend is asked and aimed to reach, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure import Results
from harness.tables import table

#: Workload to (asked, aimed): how many times as fast as the best PyTorch variant.
RATIOS = {
    "W1": (2.0, 3.0),
    "W2": (1.7, 2.5),
    "W3": (1.6, 2.0),
    "W4": (1.2, 2.0),
    "W5-lenet-1": (4.0, 8.0),
    "W5-cifar10-1": (4.0, 8.0),
    "W5-lenet-100": (1.3, 2.0),
    "W5-cifar10-100": (1.3, 2.0),
}
SCALING = {"W1": (1.65, 1.9), "W2": (1.65, 1.9)}
AVX2 = {"W1": (1.2, 2.0), "W2": (1.2, 2.0)}


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as something, with the ratio's spread over the rounds."""

    value: float
    low: float
    high: float
    against: str
    doubtful: bool
    """Whether more than a fifth of the turns behind it were disturbed."""

    def __str__(self) -> str:
        return f"{'? ' * self.doubtful}{self.value:.2f}x ({self.low:.2f} to {self.high:.2f})"


def torch_ratio(results: Results, workload: str, threads: int, suffix: str = "") -> Ratio | None:
    """Native against the PyTorch variant with the lowest median."""
    rivals = [e for e in results.entries if e.package == "torch" and e.name.endswith("@avx2") is bool(suffix)]
    keys = [(workload, e.name, threads) for e in rivals]
    best = min((k for k in keys if k in results.times), key=lambda k: results.times[k].median, default=None)
    return best and ratio(results, best, (workload, f"native{suffix}", threads))


def ratio(results: Results, slow: tuple[str, str, int], fast: tuple[str, str, int]) -> Ratio | None:
    """Of the medians; its spread is that of the ratios within a round."""
    if slow not in results.times or fast not in results.times:
        return None
    a, b = results.times[slow], results.times[fast]
    low, high = np.percentile(np.divide(a.seconds, b.seconds), [10, 90])
    title = next(entry.title for entry in results.entries if entry.name == slow[1])
    doubtful = 5 * max(a.disturbed, b.disturbed) > len(a.seconds)
    return Ratio(a.median / b.median, float(low), float(high), f"{title}, {slow[2]} thread(s)", doubtful)


def show(results: Results) -> str:
    """The table of all goals that were measured."""
    most, rows = max(results.threads), []
    for w in results.workloads:
        asked = RATIOS.get(w.name, (None, None))
        rows.append((f"{w.name}: {w.title}", torch_ratio(results, w.name, most), *asked))
        if most > 1 and 1 in results.threads:
            scaled = ratio(results, (w.name, "native", 1), (w.name, "native", most))
            rows.append((f"{w.name}: {most} threads over 1", scaled, *SCALING.get(w.name, (None, None))))
        avx2 = torch_ratio(results, w.name, most, "@avx2")
        rows.append((f"{w.name}: both on AVX2", avx2, *AVX2.get(w.name, (None, None))))
    shown = [
        (what, found, found.against, f"{asked}x" if asked else "", f"{aimed}x" if aimed else "")
        for what, found, asked, aimed in rows
        if found
    ]
    note = "\n\n? More than a fifth of the turns behind this were disturbed by other processes: measure again."
    doubtful = any(row[1].doubtful for row in shown)
    return table(["Mocha native", "times as fast", "as", "asked", "aimed"], shown) + note * doubtful
