"""Makes `hostile_hdf5` importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
