"""`hookimpl` marks a plugin's functions as implementations of Mocha's hooks."""

from __future__ import annotations

import pluggy

hookimpl = pluggy.HookimplMarker("mocha")
