"""Builds every distribution of the tree: the source archive, and the wheel out of that.

python tools/build_wheels.py dist
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(folder: str) -> None:
    """Build into a folder, emptied of older wheels."""
    target = Path(folder)
    for old in target.glob("*.whl"):
        old.unlink()
    for source in (ROOT, *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))):
        subprocess.run([sys.executable, "-m", "build", "--outdir", target, source], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
