"""The distributions of this folder, and the template. `python third_parties.py` installs them, for real.

That needs hatchling, and takes what they depend on as given.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TEMPLATE = HERE.parents[1] / "examples" / "plugin_template"
GOOD = sorted(path.name for path in HERE.glob("good/*"))
BROKEN = sorted(path.name for path in HERE.glob("broken/*"))


def install(*folders, options=()):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", *options, *folders], check=True)


if __name__ == "__main__":
    install(*(HERE / "good" / name for name in GOOD), *(HERE / "broken" / name for name in BROKEN), TEMPLATE)
