"""Signals that stop a run: the first asks for an orderly end, the second ends at once.

The first sets a flag, which programs read between iterations. An iteration and the saving of a snapshot are
finished; an exception ends any other work that takes longer than `GRACE`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from mocha_core.errors import StateError
from mocha_core.host.signal_handlers import DEFAULTS, is_free, numbered
from mocha_core.host.signal_watch import BURST, SignalWatch
from mocha_core.log import logger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Seconds after which work that need not be finished is abandoned.
GRACE = 0.5
#: A process that ends because of a signal ends within so many seconds after the last one, and waits for no more than
#: `HURRIED` for a thread that may be held up.
ENDING, HURRIED = 10.0, 0.2
#: No exception is raised inside these functions, because they clean up.
_TIDY = {__file__, contextlib.__file__}


def keep_whole(file: str) -> None:
    """Abandon nothing inside the functions of a module, because they keep account of threads."""
    _TIDY.add(file)


class Stopped(SystemExit):
    """A signal ended a run in good order. If uncaught, it ends the process silently with status 128 + `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.code = 128 + number
        self.number = number


class Interrupted(Stopped, KeyboardInterrupt):
    """Ctrl-C ended a run in good order."""


class Interruptible:
    """A context in which the first signal sets `stop[0]`; at the end it is raised as an exception.

    Another exception inside the context has precedence. At the end, `stop[0]` is reset to 0, and the old handlers are
    restored.

    It works in the main thread only, and only for signals without a handler of the program: the program's handlers, and
    ignored signals, stay as they are. A signal stops nested contexts together.

    Args:
        stop: an array of one element, which programs read between iterations.
        signals: names of more signals, such as "SIGUSR1".

    Raises:
        Interrupted: SIGINT came.
        Stopped: another signal came.
        ConfigurationError: there is no such signal.
        StateError: one of `signals` cannot be handled here.
    """

    def __init__(self, stop: NDArray[np.int32], signals: Iterable[str] = ()) -> None:
        self._stop = stop
        self._asked = [numbered(name) for name in signals]
        self._outermost = False

    def __enter__(self) -> Self:
        global _run
        if threading.current_thread() is threading.main_thread():
            for number in self._asked:
                handler = signal.getsignal(number)
                if not is_free(number, handler) and not (_run and _run.handles(number)):
                    name = signal.Signals(number).name
                    raise StateError(f"solve: {name} has a handler already, {handler!r}. Call solver.stop() in it.")
            self._outermost = _run is None
            run = _run = _run or _Run()
            run.take(self._asked)
            run.stops.append(self._stop)
            self._stop[0] |= run.received != 0
        elif self._asked:
            raise StateError("solve: signals reach the main thread only. Train there, or call solver.stop().")
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> bool:
        global _run
        run, number = _run_here(), 0
        if run is not None:
            number = run.received
            run.stops.pop()
            if self._outermost:
                run.close()
                _run = None
        self._stop[0] = 0
        if not number or (kind is not None and not issubclass(kind, Stopped)):
            return False
        if run is not None and self._outermost and run.belongs_to_loop(number):
            signal.raise_signal(number)
            return True
        if kind is None:
            raise stopped_by(number)
        return False


def finishing() -> AbstractContextManager[None]:
    """A context in which the first signal only sets the flag, however long the work takes."""
    return _work(finishing=True)


def abandonable() -> AbstractContextManager[None]:
    """A context, within `finishing()`, in which an exception ends work that takes too long: waiting for data."""
    return _work(finishing=False)


@contextlib.contextmanager
def _work(finishing: bool) -> Iterator[None]:
    run = _run_here()
    if run is None:
        yield
        return
    before = run.finishing
    run.enter(finishing)
    try:
        yield
    finally:
        run.enter(before)


class _Run:
    """The handling of signals in this process, from the start of the outermost `Interruptible` to its end."""

    def __init__(self) -> None:
        self.stops: list[NDArray[np.int32]] = []
        self.received = 0
        """The number of the first signal that came."""
        self._began = 0.0
        """The time of the first signal."""
        self.finishing = False
        self.since = 0.0
        """The start time of the current work, if it may be abandoned."""
        self._former: dict[int, Any] = {}
        self._watch = SignalWatch(self._receive, self._hurry, self._abandons)
        self.take(())

    def take(self, asked: Iterable[int]) -> None:
        """Handle the signals that the program leaves to Python, and those that it asks for."""
        for number in (*DEFAULTS, *asked):
            handler = signal.getsignal(number)
            if is_free(number, handler):
                self._former[number] = handler
                signal.signal(number, self._receive)

    def enter(self, finishing: bool) -> None:
        """Begin or continue work, which must be finished or may be abandoned."""
        if self.finishing and not finishing:
            self.since = monotonic()
        self.finishing = finishing

    def close(self) -> None:
        """Put the old handlers back."""
        self.finishing = True
        self._watch.close()
        for number, handler in self._former.items():
            if self.handles(number):
                signal.signal(number, handler)

    def forget(self) -> None:
        """Reset the state in a forked child, which does not take part in the run."""
        self._watch.forget()
        self.close()

    def handles(self, number: int) -> bool:
        """Whether the run's handler has a signal; a coffee break may have installed another."""
        return signal.getsignal(number) == self._receive

    def belongs_to_loop(self, number: int) -> bool:
        """Whether an event loop of the program handles a signal, once it runs again."""
        return getattr(self._former.get(number), "__name__", "") == "_sighandler_noop"

    def _receive(self, number: int, frame: FrameType | None) -> None:
        global _heard
        _heard = monotonic()
        if self._watch.called():
            if self._abandons() and (frame is None or frame.f_code.co_filename not in _TIDY):
                self.since = monotonic()
                logger.info("Abandoning what takes longer than %g s", GRACE)
                raise stopped_by(self.received)
        elif not self.received:
            self.received = number
            self.since = self._began = monotonic()
            self._hurry()
            logger.info("%s: finishing the iteration; again to abort at once", signal.Signals(number).name)
        elif monotonic() - self._began <= BURST:
            pass
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _hurry(self) -> None:
        for stop in self.stops:
            stop[0] = 1

    def _abandons(self) -> bool:
        return bool(self.received) and not self.finishing and monotonic() - self.since > GRACE


_run: _Run | None = None
_heard = -ENDING
"""The time of the last signal."""


def patience(usual: float) -> float:
    """Seconds to wait for a thread that may be held up: `usual`, or little if a signal has just stopped a run."""
    return min(usual, HURRIED) if monotonic() - _heard < ENDING else usual


def stopped_by(number: int) -> Stopped:
    """The exception for a signal."""
    return Interrupted(number) if number == signal.SIGINT else Stopped(number)


def _run_here() -> _Run | None:
    """The run, if this is the main thread, which is the only one that signals reach."""
    return _run if threading.current_thread() is threading.main_thread() else None


def _forget() -> None:
    global _run
    if _run is not None:
        _run.forget()
        _run = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
