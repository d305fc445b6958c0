"""What `pip install mocha-core mocha-cpu` takes on the disk, with all it needs; the limit is 110 MB.

    python benchmarks/installed_size.py

Wheels are built from the tree and installed into a fresh environment; pip itself does not count.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [".", *(f"plugins/mocha_{name}" for name in ("cpu", "layers_std", "solvers_std", "hdf5"))]
LIMIT = 110e6


def size(folder: Path) -> int:
    """Bytes that a folder takes on the disk, as `du` counts them."""
    return sum(512 * path.stat().st_blocks for path in [folder, *folder.rglob("*")])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        before = set(site.iterdir())
        command = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", *SOURCES]
        subprocess.run(command, cwd=ROOT, check=True)
        sizes = {path.name: size(path) for path in set(site.iterdir()) - before if path.is_dir()}
    for name, number in sorted(sizes.items(), key=lambda item: -item[1]):
        if number > 1e5:
            print(f"{number / 1e6:7.1f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total / 1e6:7.1f} MB  all, limit {LIMIT / 1e6:.0f} MB")
    return int(total > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
