"""`Layer`: an immutable description. Its `build` records the ops that compute it; this module computes nothing."""

from __future__ import annotations

import re
import reprlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, dataclass_transform

from mocha_core import checks
from mocha_core.describe.transformer import Transformer
from mocha_core.errors import ConfigurationError
from mocha_core.graph.value import Value
from mocha_core.plugin.construction import Constructed

if TYPE_CHECKING:
    from mocha_core.describe.builder import Builder
    from mocha_core.describe.source import Source

#: The most characters of a layer's name, so that messages stay short.
LONGEST_NAME = 200


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
class _Description(metaclass=Constructed):
    """Makes a dataclass of every subclass."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)


class Layer(_Description):
    """A description of one layer: frozen, keyword-only, compared by identity.

    Every subclass becomes a dataclass by itself; annotated class attributes are its fields. The same object
    in several nets shares its parameters. `dataclasses.replace(layer, ...)` makes another layer.
    """

    name: str = ""
    bottoms: Sequence[str] = ()
    tops: Sequence[str] = ()

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not isinstance(self.name, str):
            raise ConfigurationError(f"{kind}: expected name to be a string, received {checks.shown(self.name)}.")
        for field in ("bottoms", "tops"):
            self.replace_field(field, checks.names(f"{kind} '{self.name}'", field, getattr(self, field)))
        if not self.name:
            default = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.removesuffix("Layer")).lower()
            self.replace_field("name", self.tops[0] if self.tops else default)
        if not self.name.isprintable() or "/" in self.name:
            raise ConfigurationError(
                f"{kind}: expected a printable name without '/', received {checks.shown(self.name)}."
            )
        if len(self.name) > LONGEST_NAME:
            raise ConfigurationError(
                f"{kind}: expected a name of at most {LONGEST_NAME} characters, received {checks.shown(self.name)}, "
                f"{len(self.name):,} characters."
            )
        self.check()

    def check(self) -> None:
        """Check and normalise the fields (see `mocha_core.checks`); called on construction.

        Raises:
            ConfigurationError: a field is not usable.
        """

    @abstractmethod
    def build(self, b: Builder, *bottoms: Any, **_: Any) -> tuple[Value, ...]:
        """Record the layer's ops through `b`, given the values of its bottoms; return those of its tops."""

    def replace_field(self, field: str, value: Any) -> None:
        """Store the normalised form of a field. Only for `check`: a layer never changes afterwards."""
        object.__setattr__(self, field, value)

    def __str__(self) -> str:
        return f"{type(self).__name__}({checks.clipped(self.name)})"

    def __repr__(self) -> str:
        shown = (f"{field.name}={checks.shown(getattr(self, field.name))}" for field in fields(self))
        return f"{type(self).__name__}({', '.join(shown)})"


class DataLayer(Layer):
    """A layer that brings minibatches into a net."""

    tops: Sequence[str] = ("data", "label")
    batch_size: int
    transformers: Sequence[tuple[str, Transformer]] = ()
    """Transformers of the rows of tops, in this order: `[("data", Scale(1 / 256)), ("data", Mirror())]`.

    They run on the host, in every phase. One object given for several tops draws the same numbers for all of them.
    """

    def check(self) -> None:
        self.replace_field("batch_size", checks.integer(self, "batch_size", self.batch_size, at_most=checks.MOST))
        if self.bottoms:
            raise ConfigurationError(f"{self}: expected a data layer without bottoms, received {list(self.bottoms)}.")
        self.replace_field("transformers", self._checked_transformers())

    def _checked_transformers(self) -> tuple[tuple[str, Transformer], ...]:
        given: Any = self.transformers
        pairs = tuple(given) if isinstance(given, list | tuple) else (given,)
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[1], Transformer):
                raise ConfigurationError(
                    f"{self}: expected transformers to be a list of pairs such as [('data', transformers.Scale(0.5))], "
                    f"received {reprlib.repr(pair)} in it."
                )
            if pair[0] not in self.tops:
                raise ConfigurationError(
                    f"{self}: expected each transformer beside one of the tops {', '.join(self.tops)}, received "
                    f"{reprlib.repr(pair[0])}."
                )
        return tuple((top, transformer) for top, transformer in pairs)

    @abstractmethod
    def open(self, seed: int) -> Source:
        """Open the source of the layer's rows.

        `seed` decides their shuffled order. All data layers of a net get the same seed, because their rows belong
        together.
        """

    def build(self, b: Builder, *bottoms: Value) -> tuple[Value, ...]:
        return b.source()


class Neuron(metaclass=Constructed):
    """An activation function that a computation layer applies to its tops."""

    @abstractmethod
    def build(self, b: Builder, x: Value) -> Value:
        """Record the neuron's op and return its output, of x's shape."""


class ComputationLayer(Layer):
    """A layer that turns bottoms into tops, and may apply a neuron to each of them."""

    neuron: Neuron | None = None

    def check(self) -> None:
        if self.neuron is not None:
            checks.instance(self, "neuron", self.neuron, Neuron, "neurons.ReLU()")


class TrainableLayer(ComputationLayer):
    """A computation layer with parameters. Layers with the same `param_key` share them."""

    param_key: str = ""

    def check(self) -> None:
        super().check()
        checks.instance(self, "param_key", self.param_key, str, "'encoder'")
