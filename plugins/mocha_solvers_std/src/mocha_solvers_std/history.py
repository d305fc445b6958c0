"""`History`: what coffee breaks publish, one JSON object per line."""

from __future__ import annotations

import json
import time
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from mocha_core.errors import FileError
from mocha_core.files import replacing
from mocha_core.log import logger


class History:
    """A file of events of one training run, such as
    `{"event": "training", "iteration": 100, "time": 1767225600.0, "objective": 0.5, "learning_rate": 0.01}`.

    `time` is in seconds since 1970 (UTC). A number that is not finite is null.

    Args:
        path: the file; it need not exist.
        iteration: where the run goes on. Later events, which the run will repeat, are dropped; a run that
            starts from 0 starts an empty file.

    Raises:
        FileError: the file cannot be read or written.
    """

    def __init__(self, path: Path, iteration: int) -> None:
        self.path = path
        self._keep_until(iteration)
        try:
            self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error

    def write(self, event: dict[str, Any]) -> None:
        """Append an event; it has left the process when this returns."""
        facts = {"event": event["event"], "iteration": event["iteration"], "time": round(time.time(), 3)}
        line = json.dumps(_finite(facts | event), allow_nan=False)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _keep_until(self, iteration: int) -> None:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error) from error
        kept, dropped = [], 0
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            at = _iteration(line)
            if at is None:
                logger.warning("'%s', line %d is incomplete and is dropped.", self.path, number)
            elif 0 < iteration >= at:
                kept.append(line)
            else:
                dropped += 1
        if dropped:
            logger.info("Dropping %d events after iteration %d from %s", dropped, iteration, self.path)
        if (content := "".join(kept)) != text:
            with replacing(self.path) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def _failed(self, error: OSError) -> FileError:
        return FileError(f"'{self.path}' cannot be read or written: {error}. Check the file, or use another folder.")


def _iteration(line: str) -> int | None:
    """The iteration of a complete line."""
    if not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    iteration = event.get("iteration") if isinstance(event, dict) else None
    return iteration if isinstance(iteration, int) else None


def _finite(value: Any) -> Any:
    """The value with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value
