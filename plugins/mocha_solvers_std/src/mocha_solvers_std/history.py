"""`History`: the events that coffee breaks publish, one JSON object per line."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from io import BufferedReader
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mocha_core.api import FileError, logger, write_all, write_file

#: The number of bytes of lines that are checked together, because most lines of a long history stay.
BLOCK = 2**20
#: A line as `History` writes it; the group is its iteration.
_WRITTEN = re.compile(rb'(?m)^\{"event": "[^"\\\n]*", "iteration": ([0-9]{1,18}), "time": [^\n]*\}\n')


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
        """Drop the lines that the run repeats, and those that are no events."""
        try:
            with open(self.path, "rb") as file:
                end, kept, dropped = self._sift(file, iteration)
                if kept:  # behind the first that is dropped
                    file.seek(0)
                    write_file(self.path, file.read(end), *kept)
                elif end < os.fstat(file.fileno()).st_size:
                    os.truncate(self.path, end)
        except FileNotFoundError:
            return
        except FileError:
            raise
        except OSError as error:
            raise self._failed(error) from error
        if dropped:
            logger.info("Dropping %d events after iteration %d from %s", dropped, iteration, self.path)

    def _sift(self, file: BufferedReader, iteration: int) -> tuple[int, list[bytes], int]:
        """The bytes in front that stay, the lines behind them that stay too, and how many events do not."""
        end, kept, dropped, number = 0, list[bytes](), 0, 0
        whole = True
        while lines := file.readlines(BLOCK):
            events = _WRITTEN.findall(block := b"".join(lines))
            if whole and len(events) == len(lines) and 0 < iteration >= max(map(int, events)):
                end += len(block)
                number += len(lines)
                continue
            for line in lines:
                number += 1
                at = _iteration(line)
                if at is None:
                    logger.warning("'%s', line %d is incomplete and is dropped.", self.path, number)
                    whole = False
                elif not 0 < iteration >= at:
                    dropped += 1
                    whole = False
                elif whole:
                    end += len(line)
                else:
                    kept.append(line)
        return end, kept, dropped

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
    """The value as JSON: None for every number that it does not have, lists for arrays, text for all else."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if not isinstance(value, str | int | float | None):
        return str(value)
    return None if isinstance(value, float) and not isfinite(value) else value
