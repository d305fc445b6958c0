"""Parameters and states: values that outlive runs; and their initializers, regularizers and constraints."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mocha_core import checks
from mocha_core.compile.budget import allocating
from mocha_core.errors import ShapeError
from mocha_core.graph.array_api import Array, Namespace
from mocha_core.graph.value import Role, Spec, Value
from mocha_core.plugin.construction import Constructed, Settled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mocha_core.compile.storage import Storage


class Initializer(metaclass=Constructed):
    """Gives a parameter its first contents."""

    @abstractmethod
    def initialize(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.floating[Any]] | None:
        """An array of `shape`, or None to leave the parameter as it is (zero, or loaded)."""


class Regularizer(metaclass=Constructed):
    """A penalty on a parameter's size, at regularization coefficient 1. Pure, on the array API.

    The reported objective does not include it, as in Mocha.jl.
    """

    #: Whether the gradient at an element depends on that element alone, and grows at most linearly with it. Then
    #: kernels may work on pieces of w, and need not check that the gradient is finite if w is.
    element_wise: ClassVar[bool] = False

    @abstractmethod
    def gradient(self, xp: Namespace, w: Array) -> Array | None:
        """The penalty's gradient, of w's shape; None if it is zero."""


class Constraint(metaclass=Constructed):
    """A projection applied to a parameter after each update. Pure, on the array API."""

    @abstractmethod
    def project(self, xp: Namespace, w: Array) -> Array:
        """The nearest allowed w."""


class Owner(Protocol):
    """The interface of a `System`, which holds the contents, that parameters and states use."""

    seed: int
    storage: Storage

    def read(self, value: Value) -> NDArray[Any]:
        """A copy of the contents on the host."""

    def write(self, value: Value, array: NDArray[Any]) -> None:
        """Overwrite the contents."""


@dataclass(eq=False)
class State(Settled):
    """A persistent, saved value that is not learned, such as running statistics.

    It is shared as parameters are, except a `per_row` state: that has one row per sample of the batch, belongs to one
    net, and is saved in snapshots only.
    """

    ROLE: ClassVar = Role.STATE
    _way_out = (
        "Its contents are written by set(array); a parameter's multiplier, regularizer and constraint are assigned."
    )
    _reports = frozenset({"layer", "name", "number", "per_row", "system", "value"})

    layer: str
    name: str
    value: Value
    initializer: Initializer
    system: Owner
    number: int = 0
    """How many layers of the same name the system had before this one."""
    per_row: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self._settled = True

    @property
    def key(self) -> str:
        """Its name in files: `layer___name`, with three underscores, as in Mocha.jl."""
        return f"{self.layer}___{self.name}"

    def numpy(self) -> NDArray[Any]:
        """A copy of the contents."""
        return self.system.read(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def set(self, array: Any) -> None:
        """Overwrite the contents, cast to the state's dtype.

        Raises:
            ShapeError: the array has another shape, or numbers that an integer dtype cannot hold.
        """
        self.system.write(self.value, self.checked(array))

    def checked(self, array: Any, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The array, after a check that its shape is `shape`, or that of the contents, and that its numbers fit."""
        shape = self.value.shape if shape is None else shape
        checked: NDArray[Any] = checks.castable(f"Parameter '{self.key}'", array, self.value.dtype)
        if checked.shape != shape:
            raise ShapeError(f"Parameter '{self.key}': expected an array of shape {shape}, received {checked.shape}.")
        return checked

    def initialize(self) -> None:
        """Draw the first contents."""
        array = self.drawn(self.value.shape)
        if array is not None:
            self.system.write(self.value, array)

    def drawn(self, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """First contents of that shape, a function of the system's seed and the parameter's name. None: leave the
        contents, which are zero at first. All rows of a `per_row` state start with the same contents.

        A second layer of the same name draws other numbers; otherwise the members of an ensemble would be equal.

        Raises:
            ShapeError: the initializer returned something else.
        """
        import numpy as np

        from mocha_core.graph.random import stream_id

        names = (self.layer, self.name, str(self.number)) if self.number else (self.layer, self.name)
        random = np.random.default_rng([self.system.seed, stream_id(*names)])
        drawn = [(f"{self.layer}.{self.name}", Spec(shape, "float64"))]
        with allocating("Initial parameters", drawn, "Use smaller layers."):
            one = shape[1:] if self.per_row else shape
            array = self.initializer.initialize(one, random)
        return None if array is None else np.broadcast_to(self.checked(array, one), shape)

    def anew(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The result of `drawn`, or zeros if that is None."""
        import numpy as np

        drawn = self.drawn(shape)
        return np.zeros(shape, self.value.dtype) if drawn is None else drawn

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as an array: a parameter itself belongs to its system."""
        import numpy as np

        return np.array, (self.numpy(),)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}: {self.value.spec}>"


@dataclass(eq=False, repr=False)
class Parameter(State):
    """A learned value. Its gradient belongs to a net, its slots to a solver."""

    ROLE: ClassVar = Role.PARAMETER

    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    multiplier: float = 1.0
    """A factor for the solver's learning rate."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "multiplier":
            value = checks.number(f"Parameter '{self.key}'", name, value, low=0.0)
        elif name == "regularizer" and value is not None:
            checks.instance(f"Parameter '{self.key}'", name, value, Regularizer, "regularizers.L2Regu()")
        elif name == "constraint" and value is not None:
            checks.instance(f"Parameter '{self.key}'", name, value, Constraint, "one of constraints, or None")
        super().__setattr__(name, value)
