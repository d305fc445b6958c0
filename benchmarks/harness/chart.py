"""Charts, where matplotlib is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from harness import goals
from harness.measure import Results

HEIGHT = 0.13


def speeds(results: Results, path: Path) -> Path | None:
    """How fast everybody is, with the best PyTorch variant as 1 and what is asked and aimed as marks."""
    most = max(results.threads)
    drawn = [w for w in results.workloads if goals.torch_ratio(results, w.name, most)]
    if not drawn or not find_spec("matplotlib"):
        return None
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "mocha"}
    from matplotlib import pyplot

    entries = [e for e in results.entries if not e.name.endswith("@avx2")]
    figure, axes = pyplot.subplots(figsize=(9, 1 + len(drawn) * (len(entries) + 1.5) * HEIGHT))
    for i, entry in enumerate(entries):
        points = [(y, speed) for y, w in enumerate(drawn) if (speed := relative(results, w.name, entry.name, most))]
        if points:
            places = [y + (i - len(entries) / 2 + 0.5) / (len(entries) + 1.5) for y, _ in points]
            height = 1 / (len(entries) + 1.5)
            axes.barh(places, [speed for _, speed in points], height, label=entry.title, color=f"C{i}")
    for mark, name, which in (("|", "asked", 0), ("d", "aimed", 1)):
        asked = [(goals.RATIOS[w.name][which], y - 0.45) for y, w in enumerate(drawn) if w.name in goals.RATIOS]
        if asked:
            axes.plot(*zip(*asked), mark, color="black", label=f"{name} of native")
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_yticks(range(len(drawn)), [f"{w.name}\n{w.title}" for w in drawn], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f"times as fast as the best PyTorch variant, {most} thread(s)")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def relative(results: Results, workload: str, entry: str, threads: int) -> float | None:
    rivals = [results.median(workload, e.name, threads) for e in results.entries if e.package == "torch"]
    mine = results.median(workload, entry, threads)
    return mine and min(filter(None, rivals)) / mine


def lines(series: dict[str, list[tuple[float, float]]], labels: tuple[str, str], path: Path) -> Path | None:
    """Curves on two logarithmic axes."""
    if not find_spec("matplotlib"):
        return None
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "mocha"}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, points in series.items():
        axes.loglog(*zip(*points), "o-", base=2, markersize=3, label=name)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
