"""`ProgressBar`: shows the progress and the speed of the training."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from mocha_core.api import CoffeeBreak, logger, messages

if TYPE_CHECKING:
    from mocha_core.api import Net, Solver


class ProgressBar(CoffeeBreak):
    """Shows iteration, objective and iterations per second at the breaks.

    On a terminal (standard error) it is a live bar, above which other messages scroll. Elsewhere it logs a plain
    line every ten seconds.
    """

    #: The minimum of seconds between two plain lines.
    INTERVAL = 10.0

    def __init__(self) -> None:
        self._display: _Bar | _Lines | None = None

    def init(self, solver: Solver, net: Net) -> None:
        self._display = None

    def enjoy(self, solver: Solver, net: Net) -> None:
        # `init` is too early: another break may still load a snapshot and set the first iteration.
        if self._display is None:
            kind = _Bar if _is_terminal(sys.stderr) else _Lines
            self._display = kind(solver.state.iteration, solver.parameters.max_iter)
        self._display.show(solver.state.iteration, solver.state.objective)

    def destroy(self, solver: Solver, net: Net) -> None:
        if self._display is not None:
            self._display.close()


class _Bar:
    """A live bar; log lines that would go to the terminal are written above it."""

    def __init__(self, start: int, total: int) -> None:
        self._stack = ExitStack()
        self._bar: tqdm[Any] = tqdm(total=total, initial=start, unit="it", dynamic_ncols=True)
        self._stack.enter_context(suppress(OSError, ValueError))
        self._stack.callback(self._bar.close)
        self._stack.callback(setattr, messages, "write", messages.write)
        messages.write = partial(_above_bars, messages.write)
        shown = [log for log in (logger, logging.getLogger()) if any(map(_on_terminal, log.handlers))]
        if shown:
            self._stack.enter_context(logging_redirect_tqdm(shown))

    def show(self, iteration: int, objective: float) -> None:
        if iteration:
            self._bar.set_postfix_str(f"objective={objective:.6f}", refresh=False)
        with suppress(OSError, ValueError):  # the terminal may be closed
            self._bar.update(iteration - self._bar.n)

    def close(self) -> None:
        self._stack.close()


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # the stream is no file, or closed
        return False


def _above_bars(write: Callable[[str], None], line: str) -> None:
    with tqdm.external_write_mode():
        write(line)


def _on_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr)


class _Lines:
    """Logs lines, some seconds apart, with the speed since the line before."""

    def __init__(self, start: int, total: int) -> None:
        self._last, self._time = start, time.monotonic()
        self._total = total

    def show(self, iteration: int, objective: float) -> None:
        now = time.monotonic()
        if iteration == self._last or (now < self._time + ProgressBar.INTERVAL and iteration < self._total):
            return
        speed = (iteration - self._last) / max(now - self._time, 1e-9)
        logger.info("%d/%d, objective %.6f, %.1f it/s", iteration, self._total, objective, speed)
        self._last, self._time = iteration, now

    def close(self) -> None:
        pass
