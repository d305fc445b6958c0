"""Every error Mocha raises on purpose: a `MochaError` that is also the fitting builtin.

A message names the layer, the blob or the file, what was given, what was expected, and the way out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError


class MochaError(Exception):
    """Base of all errors raised by Mocha and its plugins."""


class ConfigurationError(MochaError, ValueError):
    """A layer, solver or system was given a field it cannot work with."""


class ArgumentError(ConfigurationError, TypeError):
    """Something was constructed with arguments that it does not take, or without those that it needs."""


class ShapeError(MochaError, ValueError):
    """The shapes or dtypes of blobs do not fit together."""


class TopologyError(MochaError, ValueError):
    """The layers of a net do not form a net: missing bottoms, duplicate names, cycles."""


class UnknownNameError(MochaError, AttributeError):
    """A name that no installed plugin has registered."""


class UnknownImportError(MochaError, ImportError):
    """An unknown name in `from mocha_core.layers import Name`, where Python drops the message of an AttributeError."""


class PluginError(MochaError, RuntimeError):
    """A plugin could not be loaded, or two plugins contradict each other."""


class BackendError(MochaError, RuntimeError):
    """A backend is not available, or cannot run what it was asked to."""


class StateError(MochaError, RuntimeError):
    """An object was used at the wrong time: a destroyed net, a blob that was not kept."""


class FrozenError(MochaError, FrozenInstanceError):
    """What never changes, such as a layer, was to be changed."""


class DataError(MochaError, ValueError):
    """The contents of a minibatch are invalid, such as a label out of range."""


class NonFiniteError(MochaError, FloatingPointError):
    """The objective, a parameter or a slot is infinite or not a number."""


class FileError(MochaError, OSError):
    """A file or folder is missing, unreadable or of the wrong kind."""


class SnapshotError(FileError):
    """A snapshot is broken, or does not fit the net or the solver it is loaded into."""


@contextmanager
def blaming(what: str, way_out: str) -> Iterator[None]:
    """Turn an exception of a plugin's code in this context into a `PluginError` that names the plugin's part."""
    try:
        yield
    except (MochaError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(f"{what} failed: {type(error).__name__}: {error}. {way_out}") from error
