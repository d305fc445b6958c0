from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_backends(backends: Registry) -> None:
    backends.add("acme", "acme_backend.backend:AcmeBackend", priority=-1)
