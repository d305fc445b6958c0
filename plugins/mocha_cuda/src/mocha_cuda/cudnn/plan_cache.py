"""Keeps the fastest plans on disk, one small JSON file for each problem, so that later processes need not measure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mocha_core.api import FileError, warn, write_file
from mocha_cuda.cudnn.plans import Choice

#: The version of the format of files. Files of other versions are ignored.
FORMAT = 1
#: Files of this size or larger are ignored: no valid file is as large.
MOST_BYTES = 1 << 16


class PlanCache:
    """The choices of plans, by all that they depend on.

    Args:
        folder: the folder of the files. The first write makes it.
        machine: facts that hold for all choices, such as cuDNN's version and the device.
    """

    def __init__(self, folder: Path, machine: Mapping[str, str | int]) -> None:
        self.folder = folder
        self.machine = dict(machine)

    def find(self, question: str) -> Choice | None:
        """The choice; None if there is none, or, with a warning, if the file is broken."""
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
        """Write the choice. If this fails, the next process measures again."""
        content = {"key": self._key(question), "engine": choice.engine, "knobs": choice.knobs}
        path = self.path(question)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps(content, indent=1).encode())
        except (OSError, FileError) as error:
            warn(f"cuDNN's fastest plan was not kept: {error}")

    def path(self, question: str) -> Path:
        """The file of a problem."""
        key = json.dumps(self._key(question), sort_keys=True).encode()
        return self.folder / f"cudnn-plan-{hashlib.blake2b(key, digest_size=16).hexdigest()}.json"

    def _key(self, question: str) -> dict[str, str | int]:
        return {"format": FORMAT, **self.machine, "question": question}


def _ignored(path: Path, reason: str) -> Choice | None:
    """Warn that a file is ignored."""
    warn(f"'{path}' holds no plan of cuDNN ({reason}): it is ignored, and written again. Delete it if this comes back.")
    return None
