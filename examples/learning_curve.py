"""Draws the objective and the accuracy of a training run, from the history beside its snapshots.

python examples/learning_curve.py snapshots/mnist learning-curve.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

parser = argparse.ArgumentParser(description="Draw the learning curve of a training run.")
parser.add_argument("snapshots", type=Path, help="folder with history.jsonl")
parser.add_argument("picture", type=Path, help="file to write, such as learning-curve.png")
options = parser.parse_args()

lines = (options.snapshots / "history.jsonl").read_text(encoding="utf-8").splitlines()
history = [json.loads(line) for line in lines]
training = [e for e in history if e["event"] == "training"]
validation = [e for e in history if e["event"] == "validation" and e["iteration"]]

figure = Figure(figsize=(7, 5), layout="constrained")
upper, lower = figure.subplots(2, sharex=True)
upper.plot([e["iteration"] for e in training], [e["objective"] for e in training], color="tab:brown")
upper.set(yscale="log", ylabel="objective", title=f"Training of {options.snapshots}")
for name in validation[0]["statistics"] if validation else ():
    percent = [100 * e["statistics"][name] for e in validation]
    lower.plot([e["iteration"] for e in validation], percent, marker="o", label=name)
    place = (validation[-1]["iteration"], percent[-1])
    lower.annotate(f"{percent[-1]:.2f} %", place, (0, -8), textcoords="offset points", ha="right", va="top")
lower.set(xlabel="iteration", ylabel="validation, %")
lower.legend(loc="lower right")
for axes in (upper, lower):
    axes.grid(alpha=0.3)
figure.savefig(options.picture, dpi=120)
print(options.picture)
