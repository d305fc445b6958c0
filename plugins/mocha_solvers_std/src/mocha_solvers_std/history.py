"""`History`: what coffee breaks publish, one JSON object per line."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from mocha_core.errors import FileError
from mocha_core.host.files import write_all, write_file
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
        self._waiting = b""
        self._torn = False
        self._keep_until(iteration)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            self._size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise self._failed(error) from error

    def write(self, event: dict[str, Any]) -> None:
        """Append an event; it has left the process when this returns.

        Raises:
            FileError: it cannot be written; it waits for the next one, and the file has whole lines only.
        """
        facts = {"event": event["event"], "iteration": event["iteration"], "time": round(time.time(), 3)}
        self._waiting += json.dumps(_finite(facts | event), allow_nan=False).encode() + b"\n"
        self._write_waiting()

    def close(self) -> None:
        """Close the file.

        Raises:
            FileError: events were waiting, and still cannot be written.
        """
        try:
            if self._waiting:
                self._write_waiting()
        finally:
            os.close(self._descriptor)

    def _write_waiting(self) -> None:
        try:
            self._cut()
            self._torn = True
            write_all(self._descriptor, self._waiting)
            self._torn = False
        except OSError as error:
            with suppress(OSError):
                self._cut()
            raise self._failed(error) from error
        self._size += len(self._waiting)
        self._waiting = b""

    def _cut(self) -> None:
        """Take back a line that was half written."""
        if self._torn:
            os.ftruncate(self._descriptor, self._size)
            self._torn = False

    def _keep_until(self, iteration: int) -> None:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error) from error
        kept, dropped = [], 0
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            at = _iteration(line)
            if at is None:
                logger.warning("'%s', line %d is incomplete and is dropped.", self.path, number)
            elif 0 < iteration >= at:
                kept.append(line)
            else:
                dropped += 1
        if dropped:
            logger.info("Dropping %d events after iteration %d from %s", dropped, iteration, self.path)
        if len(kept_content := b"".join(kept)) != len(content):
            write_file(self.path, kept_content)

    def _failed(self, error: OSError) -> FileError:
        return FileError(f"'{self.path}' cannot be read or written: {error}. Check the file, or use another folder.")


def _iteration(line: bytes) -> int | None:
    """The iteration of a complete line."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    iteration = event.get("iteration") if isinstance(event, dict) else None
    return iteration if type(iteration) is int else None


def _finite(value: Any) -> Any:
    """The value with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value
