"""The toy backends by name, also with poisoned memory, and without resident data."""

from __future__ import annotations

from toys.blocked import Blocked
from toys.deferred import Deferred
from toys.plain import Plain
from toys.poison import Poison


class PoisonedPlain(Poison, Plain):
    pass


class PoisonedBlocked(Poison, Blocked):
    pass


BACKENDS = {
    "plain": Plain,
    "plain, poisoned": PoisonedPlain,
    "blocked": Blocked,
    "blocked, poisoned": PoisonedBlocked,
    "deferred": Deferred,
    "deferred, fetching": lambda: Deferred(resident=False),
}
