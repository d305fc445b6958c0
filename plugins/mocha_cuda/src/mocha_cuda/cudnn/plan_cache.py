"""Which plans were the fastest, kept on disk: one small JSON file for each question, so processes need not wait."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mocha_core.api import FileError, warn, write_file
from mocha_cuda.cudnn.plans import Choice

#: Of the files; others are not read.
FORMAT = 1
#: No file is as long.
MOST_BYTES = 1 << 16


class PlanCache:
    """Choices by what they depend on.

    Args:
        folder: where the files are; made when the first is written.
        machine: what holds for all of them, such as cuDNN's version and the device.
    """

    def __init__(self, folder: Path, machine: Mapping[str, str | int]) -> None:
        self.folder = folder
        self.machine = dict(machine)

    def find(self, question: str) -> Choice | None:
        """What was chosen; None if nothing was, or the file is broken, which a warning says."""
        path = self.path(question)
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _ignored(path, str(error))
        try:
            found = json.loads(text)
            engine, knobs = found["engine"], tuple((kind, value) for kind, value in found["knobs"])
            if found["key"] != self._key(question):
                return _ignored(path, "it belongs to another question")
            if not all(type(number) is int and abs(number) < 2**62 for number in (engine, *sum(knobs, ()))):
                return _ignored(path, "an engine and its knobs are integers")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return _ignored(path, f"{type(error).__name__}: {error}")
        return Choice(engine, knobs)

    def keep(self, question: str, choice: Choice) -> None:
        """Write what was chosen. Best effort: where it cannot be written, it is looked for again the next time."""
        content = {"key": self._key(question), "engine": choice.engine, "knobs": choice.knobs}
        path = self.path(question)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps(content, indent=1).encode())
        except (OSError, FileError) as error:
            warn(f"cuDNN's fastest plan was not kept: {error}")

    def path(self, question: str) -> Path:
        """The file of a question."""
        key = json.dumps(self._key(question), sort_keys=True).encode()
        return self.folder / f"cudnn-plan-{hashlib.blake2b(key, digest_size=16).hexdigest()}.json"

    def _key(self, question: str) -> dict[str, str | int]:
        return {"format": FORMAT, **self.machine, "question": question}


def _ignored(path: Path, reason: str) -> Choice | None:
    """Says that a file is not used."""
    warn(f"'{path}' holds no plan of cuDNN ({reason}): it is ignored, and written again. Delete it if this comes back.")
    return None
