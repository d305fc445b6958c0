"""Where and with what it was measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import date

from harness import cpus


def describe(versions: Mapping[str, str]) -> str:
    """One line."""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    where = f"{cpus.model()}, {len(cpus.cores())} cores, {platform.system()} {platform.machine()}"
    return f"{date.today()}, {where}; {packages}."
