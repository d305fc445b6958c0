"""The promises under fire: a tenth of each count in `make test`, all of it and a table with `tox run -e soak`."""

import os
import platform
import time
from pathlib import Path

import pytest

SOAK = os.environ.get("MOCHA_SOAK", "0") == "1"
TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "soak.md"
ROWS = pytest.StashKey()


@pytest.fixture(scope="session")
def trials():
    """How often to try: `trials(1000)` is 1000 in a soak, 100 otherwise. Seed each trial with its number."""
    return lambda full: full if SOAK else max(1, full // 10)


@pytest.fixture
def report(request):
    """Adds a row to the table: `report("SIGKILL while saving", trials, "every resume found a complete snapshot")`."""
    start = time.monotonic()

    def add(what, count, found):
        seconds = time.monotonic() - start
        request.config.stash.setdefault(ROWS, []).append(f"| {what} | {count:,} | {found} | {seconds:.0f} s |")

    return add


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    table = ["| what | trials | found | took |", "| --- | --- | --- | --- |", *rows]
    for line in table:
        terminalreporter.write_line(line)
    if SOAK and exitstatus == 0:
        machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
        heading = ["# The long counts", "", f"Written by `tox run -e soak`. {machine}.", ""]
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join([*heading, *table]) + "\n", encoding="utf-8")
