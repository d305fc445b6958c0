"""The API for authors of layers, ops, kernels, backends, solvers, coffee breaks, sources and formats.

Its names are stable; other modules of `mocha_core` may change without notice, except the namespaces, such as
`mocha_core.layers`, and the kit, `mocha_core.testing`. Scripts that train need `import mocha_core as mocha` only.
"""

# Errors, and checks that raise them.
from mocha_core import checks as checks
from mocha_core.errors import ArgumentError as ArgumentError
from mocha_core.errors import BackendError as BackendError
from mocha_core.errors import ConfigurationError as ConfigurationError
from mocha_core.errors import DataError as DataError
from mocha_core.errors import FileError as FileError
from mocha_core.errors import FrozenError as FrozenError
from mocha_core.errors import MochaError as MochaError
from mocha_core.errors import NonFiniteError as NonFiniteError
from mocha_core.errors import PluginError as PluginError
from mocha_core.errors import ShapeError as ShapeError
from mocha_core.errors import SnapshotError as SnapshotError
from mocha_core.errors import StateError as StateError
from mocha_core.errors import TopologyError as TopologyError
from mocha_core.errors import UnknownNameError as UnknownNameError
from mocha_core.suggestions import channels_last as channels_last

# Registration, and services of the host, for all plugins.
from mocha_core.host import caches as caches
from mocha_core.host import cpus as cpus
from mocha_core.host.files import absolute as absolute
from mocha_core.host.files import open_regular as open_regular
from mocha_core.host.files import remove_leftovers as remove_leftovers
from mocha_core.host.files import write_all as write_all
from mocha_core.host.files import write_file as write_file
from mocha_core.log import logger as logger
from mocha_core.log import messages as messages
from mocha_core.log import warn as warn
from mocha_core.plugin.construction import EnumGroup as EnumGroup
from mocha_core.plugin.construction import Group as Group
from mocha_core.plugin.hookspecs import hookimpl as hookimpl
from mocha_core.plugin.hookspecs import hookspec as hookspec
from mocha_core.plugin.manager import plugin_manager as plugin_manager
from mocha_core.plugin.manager import registries as registries
from mocha_core.plugin.registry import Candidates as Candidates
from mocha_core.plugin.registry import Registry as Registry

# Ops: computations.
from mocha_core.graph.array_api import Array as Array
from mocha_core.graph.array_api import Arrays as Arrays
from mocha_core.graph.array_api import Gradients as Gradients
from mocha_core.graph.array_api import Namespace as Namespace
from mocha_core.graph.cells import Cell as Cell
from mocha_core.graph.op import Op as Op
from mocha_core.graph.random import stream_id as stream_id
from mocha_core.graph.random import uniform as uniform
from mocha_core.graph.structural import Objective as Objective
from mocha_core.graph.structural import raise_status as raise_status
from mocha_core.graph.value import ITEMSIZE as ITEMSIZE
from mocha_core.graph.value import Role as Role
from mocha_core.graph.value import Spec as Spec
from mocha_core.graph.value import Value as Value
from mocha_core.graph.value import nbytes as nbytes

# Layers: descriptions that users write.
from mocha_core.describe.builder import Builder as Builder
from mocha_core.describe.builder import UpdateBuilder as UpdateBuilder
from mocha_core.describe.layer import ComputationLayer as ComputationLayer
from mocha_core.describe.layer import DataLayer as DataLayer
from mocha_core.describe.layer import Layer as Layer
from mocha_core.describe.layer import Neuron as Neuron
from mocha_core.describe.layer import TrainableLayer as TrainableLayer
from mocha_core.describe.parameter import Constraint as Constraint
from mocha_core.describe.parameter import Initializer as Initializer
from mocha_core.describe.parameter import Parameter as Parameter
from mocha_core.describe.parameter import Regularizer as Regularizer
from mocha_core.describe.parameter import State as State
from mocha_core.describe.source import Source as Source
from mocha_core.describe.transformer import Transformer as Transformer
from mocha_core.describe.transformer import draw as draw

# Kernels and fusions: faster implementations of ops.
from mocha_core.compile.chain import Chain as Chain
from mocha_core.compile.chain import chain as chain
from mocha_core.compile.chain import join_element_wise as join_element_wise
from mocha_core.compile.fusion import Rewritten as Rewritten
from mocha_core.compile.kernel import BoundStep as BoundStep
from mocha_core.compile.kernel import Buffers as Buffers
from mocha_core.compile.kernel import Kernel as Kernel
from mocha_core.compile.kernel import Reference as Reference
from mocha_core.compile.kernel import Runnable as Runnable
from mocha_core.compile.layout import Convert as Convert
from mocha_core.compile.layout import Layout as Layout
from mocha_core.compile.layout import Layouts as Layouts
from mocha_core.compile.layout import PLAIN as PLAIN
from mocha_core.compile.selection import Selector as Selector
from mocha_core.compile.trace import trace_backward as trace_backward
from mocha_core.compile.trace import trace_forward as trace_forward
from mocha_core.compile.traced import TracedKernel as TracedKernel
from mocha_core.compile.traced import traced as traced
from mocha_core.compile.traced import traced_chain as traced_chain
from mocha_core.compile.vector_program import REDUCTIONS as REDUCTIONS
from mocha_core.compile.vector_program import Kind as Kind
from mocha_core.compile.vector_program import Node as Node
from mocha_core.compile.vector_program import Output as Output
from mocha_core.compile.vector_program import Untraceable as Untraceable
from mocha_core.compile.vector_program import VectorProgram as VectorProgram
from mocha_core.graph.plan import Call as Call
from mocha_core.graph.plan import Half as Half
from mocha_core.graph.plan import Phase as Phase
from mocha_core.graph.plan import Plan as Plan
from mocha_core.graph.plan import Section as Section
from mocha_core.graph.plan import Step as Step
from mocha_core.graph.plan import forward_step as forward_step

# Backends: devices, and their compilers.
from mocha_core.compile.layout_pass import Arrangement as Arrangement
from mocha_core.compile.backend import Backend as Backend
from mocha_core.compile.device import Device as Device
from mocha_core.compile.placement import Memory as Memory
from mocha_core.compile.profiling import Profile as Profile
from mocha_core.compile.profiling import StepTime as StepTime
from mocha_core.compile.program import KernelUse as KernelUse
from mocha_core.compile.program import Program as Program
from mocha_core.compile.program import Schedule as Schedule
from mocha_core.compile.program import Stop as Stop
from mocha_core.compile.program import updates as updates
from mocha_core.compile.schedule import checked_columns as checked_columns
from mocha_core.compile.step_graph import Graph as Graph
from mocha_core.compile.storage import Storage as Storage

# Solvers, coffee breaks and files.
from mocha_core.net.net import Net as Net
from mocha_core.net.system import System as System
from mocha_core.train.coffee_break import CoffeeBreak as CoffeeBreak
from mocha_core.train.formats import Format as Format
from mocha_core.train.snapshot import StoredArray as StoredArray
from mocha_core.train.formats import format_of as format_of
from mocha_core.train.snapshot import SavedRun as SavedRun
from mocha_core.train.snapshot import capture as capture
from mocha_core.train.snapshot import restore as restore
from mocha_core.train.parameters import Hyperparameter as Hyperparameter
from mocha_core.train.parameters import Policy as Policy
from mocha_core.train.parameters import SolverParameters as SolverParameters
from mocha_core.train.solver import Solver as Solver
from mocha_core.train.update import UpdateOp as UpdateOp
