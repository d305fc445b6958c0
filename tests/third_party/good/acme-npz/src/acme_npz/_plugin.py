from __future__ import annotations

from typing import TYPE_CHECKING

from mocha_core import hookimpl

if TYPE_CHECKING:
    from mocha_core.api import Registry


@hookimpl
def mocha_register_formats(formats: Registry) -> None:
    formats.add(".npz", "acme_npz.format:NPZFormat")
