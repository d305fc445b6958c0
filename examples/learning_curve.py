"""Draws the objective and the accuracy of a training run from the history beside its snapshots.

python examples/learning_curve.py snapshots/mnist learning-curve.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="Draw the learning curve of a training run.")
parser.add_argument("snapshots", type=Path, help="folder with history.jsonl")
parser.add_argument("picture", type=Path, help="file to write, such as learning-curve.png")
options = parser.parse_args()

lines = (options.snapshots / "history.jsonl").read_text(encoding="utf-8").splitlines()
history = [json.loads(line) for line in lines]
