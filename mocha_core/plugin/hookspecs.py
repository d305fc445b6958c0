"""The hooks a plugin may implement. Each registering hook is called once per plugin, with a registry.

`add(name, target)` takes `"module:attribute"` as target, so that registering imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mocha_core.describe.builder import UpdateBuilder
    from mocha_core.describe.parameter import Parameter
    from mocha_core.net.net import Net
    from mocha_core.plugin.registry import Candidates, Registry
    from mocha_core.train.solver import Solver

#: Marks the hooks that a plugin adds to these: see `mocha_register_kinds`.
hookspec = pluggy.HookspecMarker("mocha")
#: Marks a plugin's functions as implementations of these hooks.
hookimpl = pluggy.HookimplMarker("mocha")


@hookspec(historic=True)
def mocha_register_backends(backends: Registry) -> None:
    """`backends.add(name, target, priority=0, available="module:function")`.

    The highest priority whose `available` returns an empty string is the default; otherwise it returns why not.
    """


@hookspec(historic=True)
def mocha_register_ops(ops: Registry) -> None:
    """`ops.add(name, target)`: subclasses of `mocha_core.graph.op.Op`, under their own `name`."""


@hookspec(historic=True)
def mocha_register_kernels(kernels: Candidates) -> None:
    """`kernels.add(op, backend, target, priority=0)`: functions `build(backend, call) -> Kernel | None`."""


@hookspec(historic=True)
def mocha_register_fusions(fusions: Candidates) -> None:
    """`fusions.add(op, half, backend, target, priority=0)`: functions `rewrite(graph, root)`.

    `half` is "forward" or "backward"; a rewrite returns (replaced steps, new step) or None.
    """


@hookspec(historic=True)
def mocha_register_layers(layers: Registry) -> None:
    """`layers.add(name, target)`: subclasses of `mocha_core.describe.layer.Layer`, and their groups of constants."""


@hookspec(historic=True)
def mocha_register_neurons(neurons: Registry) -> None:
    """`neurons.add(name, target)`: subclasses of `mocha_core.describe.layer.Neuron`."""


@hookspec(historic=True)
def mocha_register_initializers(initializers: Registry) -> None:
    """`initializers.add(name, target)`: subclasses of `mocha_core.describe.parameter.Initializer`."""


@hookspec(historic=True)
def mocha_register_regularizers(regularizers: Registry) -> None:
    """`regularizers.add(name, target)`: subclasses of `mocha_core.describe.parameter.Regularizer`."""


@hookspec(historic=True)
def mocha_register_constraints(constraints: Registry) -> None:
    """`constraints.add(name, target)`: subclasses of `mocha_core.describe.parameter.Constraint`."""


@hookspec(historic=True)
def mocha_register_transformers(transformers: Registry) -> None:
    """`transformers.add(name, target)`: subclasses of `mocha_core.describe.transformer.Transformer`."""


@hookspec(historic=True)
def mocha_register_solvers(solvers: Registry) -> None:
    """`solvers.add(name, target)`: subclasses of `mocha_core.train.solver.Solver`, and groups of policies."""


@hookspec(historic=True)
def mocha_register_coffee(coffee: Registry) -> None:
    """`coffee.add(name, target)`: subclasses of `mocha_core.train.coffee_break.CoffeeBreak`."""


@hookspec(historic=True)
def mocha_register_formats(formats: Registry) -> None:
    """`formats.add(ending, target)`, such as ".hdf5": subclasses of `mocha_core.train.formats.Format`."""


@hookspec(historic=True)
def mocha_register_commands(commands: Registry) -> None:
    """`commands.add(name, target, help="...")`: classes with `configure(parser)` and `run(arguments) -> int`."""


@hookspec(historic=True)
def mocha_register_kinds(kinds: Registry) -> None:
    """`kinds.add(name, hookspecs, noun="...")`: a new kind of registrations, which other plugins can make, too.

    `hookspecs` is a class (or an import string of one) with the hook `mocha_register_<name>(<name>)`, marked
    `@hookspec(historic=True)`. The registry is `registries().<name>`; errors call an entry `noun`. A plugin that
    implements the hook, but also works without this plugin, marks it `@hookimpl(optionalhook=True)`.
    """


@hookspec
def mocha_net_built(net: Net) -> None:
    """A net was built: its topology and shapes are known to be right."""


@hookspec
def mocha_record_exchange(b: UpdateBuilder, solver: Solver, parameters: Sequence[Parameter]) -> None:
    """Record, with `b.exchange`, steps between backward and the updates of a training program: sums over processes.

    It is called for any solver, when the program is recorded. The solver's own `exchange` comes later, so it clips the
    sums. `parameters` are the learned ones; `b.gradient(parameter)` is averaged over accumulated minibatches.
    """


@hookspec
def mocha_solve_started(solver: Solver, net: Net) -> None:
    """`solver.solve(net)` is about to run its first iteration."""


@hookspec
def mocha_solve_finished(solver: Solver, net: Net) -> None:
    """`solver.solve(net)` has returned from its last coffee break, even if it was told to stop."""
