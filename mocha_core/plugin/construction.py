"""Metaclasses that check constructor arguments: wrong ones raise an `ArgumentError` that lists the right ones."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from enum import EnumType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from mocha_core import checks, suggestions
from mocha_core.errors import ArgumentError, ConfigurationError, FrozenError, MochaError, StateError, UnknownNameError

T = TypeVar("T")


class Constructed(ABCMeta):
    """Metaclass of layers, solvers, systems and all else that users construct.

    A subclass that is made a dataclass by its base cannot be decorated again, and says so. Frozen dataclasses say how
    to get another object.
    """

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        try:
            made: T = super().__call__(*args, **kwargs)  # type: ignore[misc]
        except TypeError as error:
            if isinstance(error, MochaError):
                raise
            misfit = _misfit(cls, args, kwargs)
            if not misfit:
                raise
            raise ArgumentError(misfit) from None
        if isinstance(made, Settled):
            made._settled = True
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__dataclass_params__" and name in cls.__dict__:
            raise ConfigurationError(
                f"{_title(cls)}: its base makes a dataclass of it already. Remove the decorator @dataclass, and keep "
                "the annotated fields."
            )
        params = cls.__dict__.get("__dataclass_params__")
        generated = getattr(value, "__qualname__", "") == f"{cls.__qualname__}.{name}"
        if name in ("__setattr__", "__delattr__") and generated and params is not None and params.frozen:
            value = _refuse  # in place of the one that the decorator generated
        super().__setattr__(name, value)

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of `__init__`; without this, `inspect` would show that of `__call__`."""
        if cls.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        of_init = inspect.signature(cls.__init__)  # type: ignore[misc]
        return of_init.replace(parameters=list(of_init.parameters.values())[1:])


class Settled:
    """Once it is constructed, an attribute that it does not have, or that only reports, cannot be assigned: the wish
    would be ignored. Names that begin with an underscore are free.
    """

    #: How users get what they may have wished.
    _way_out: ClassVar[str]
    #: Attributes that only report, besides properties that cannot be set.
    _reports: ClassVar[frozenset[str]] = frozenset()
    _settled = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self._settled and not name.startswith("_"):
            known = getattr(type(self), name, None)
            if name in self._reports or (isinstance(known, property) and known.fset is None):
                raise StateError(f"{self!r}: '{name}' cannot be set, it only reports. {self._way_out}")
            if not hasattr(self, name):
                raise UnknownNameError(f"{self!r} has no attribute '{name}', and would ignore it. {self._way_out}")
        super().__setattr__(name, value)


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    title = type(self).__name__
    raise FrozenError(
        f"{title} never changes, as others may use it, too: '{name}' cannot be set or deleted. Make another "
        f"{title}: dataclasses.replace(old, {name}=...)."
    )


def _misfit(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why a class cannot be called with these arguments; empty if it can."""
    signature = inspect.signature(cls)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        reason = str(error)
    else:
        return ""
    fields = {p.name: p for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    in_order = [p.name for p in fields.values() if p.kind is not p.KEYWORD_ONLY]
    word = "field" if is_dataclass(cls) else "argument"
    faults = []
    meant = set()
    for name in kwargs.keys() - fields.keys() if not _takes_any(signature) else ():
        hint = suggestions.field(name, fields)
        meant.add(hint)
        faults.append(f"it has no {word} '{checks.clipped(name)}'" + (f" (did you mean '{hint}'?)" if hint else ""))
    if len(args) > len(in_order):
        by_name = [name for name in fields if name not in in_order]
        how = f"it takes {len(in_order)} {word}s"
        if by_name:
            how = f"its {word}s are given by name, such as {by_name[0]}=..."
        faults.append(f"{how}; received {', '.join(map(checks.shown, args[len(in_order) :]))} besides")
    needed = [name for name, p in fields.items() if p.default is p.empty and name not in {*in_order[: len(args)]}]
    missing = [name for name in needed if name not in kwargs and name not in meant]
    if missing and len(args) <= len(in_order):
        faults.append(f"it needs {' and '.join(missing)}")
    faults = faults or [reason]
    has = f"Its {word}s: {', '.join(fields)}." if fields else f"It has no {word}s."
    title = _title(cls) + (f" '{kwargs['name']}'" if isinstance(kwargs.get("name"), str) else "")
    return f"{title}: {'; '.join(sorted(faults))}. {has}"


def _title(cls: type) -> str:
    return cls.__qualname__.rpartition("<locals>.")[2]


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


class Group(type):
    """Metaclass of classes that hold names, such as `LRPolicy`: an unknown name raises an error that lists them."""

    if not TYPE_CHECKING:  # type checkers know the names

        def __getattr__(cls, name: str) -> NoReturn:
            if not name.startswith("_"):
                names = [name for name, value in vars(cls).items() if not name.startswith("_")]
                checks.known(cls.__name__, "member", name, names)
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class EnumGroup(Group, EnumType):
    """Metaclass of enumerations, such as `Pooling`, with the same error for an unknown name."""
