"""The signals that a run may handle: those that the program leaves to Python, or to an event loop that it blocks."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

from mocha_core.checks import shown
from mocha_core.errors import ConfigurationError

#: The signals that stop every run, and Python's own handlers of them.
DEFAULTS: dict[int, Any] = {
    number: signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if (number := getattr(signal, name, None)) is not None
}
#: Packages whose handlers only notify an event loop, which cannot react while `solve` blocks it.
LOOPS = ("asyncio", "ipykernel", "trio", "uvloop")


def numbered(name: str) -> int:
    """The number of a signal.

    Raises:
        ConfigurationError: there is no such signal, or it cannot be handled.
    """
    try:
        number = signal.Signals[name]
    except KeyError:
        known = ", ".join(s.name for s in signal.Signals)
        raise ConfigurationError(f"solve: this system has no signal {shown(name)}. It has {known}.") from None
    if name in ("SIGKILL", "SIGSTOP"):
        raise ConfigurationError(f"solve: {name} cannot be handled. Give another signal.")
    return number


def is_free(number: int, handler: Any) -> bool:
    """Whether a signal's handler is Python's own or that of an event loop, and not one of the program."""
    return handler == DEFAULTS.get(number, signal.SIG_DFL) or _is_loops(handler)


def _is_loops(handler: Any) -> bool:
    function = handler.func if isinstance(handler, partial) else handler
    module = getattr(getattr(function, "__func__", function), "__module__", None) or ""
    return module.partition(".")[0] in LOOPS
