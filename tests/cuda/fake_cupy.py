"""As much of CuPy as mocha_cuda uses, on the host: streams do their work at once, or keep it while they are captured.

Compiled modules are names: `mocha_cuda.nvrtc.code` has to be replaced by `code`.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from host_device import HostKernel

__version__ = "14.2.0"


class ndarray:
    """An array on the device: NumPy neither reads it nor takes part in computing with it; elements are arrays, too."""

    __array_ufunc__ = None

    def __init__(self, host):
        self.host = host

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    @property
    def data(self):
        return SimpleNamespace(ptr=self.host.ctypes.data)

    def __getitem__(self, at):
        at = at if isinstance(at, tuple) else (at,)
        return ndarray(self.host[at if ... in at else (*at, ...)])

    def __setitem__(self, at, value):
        assert Stream.current is not None, "this would wait for other systems' streams, or end their recording"
        given = on_host(value)
        Stream.current.do(lambda: self.host.__setitem__(at, given))

    def __getattr__(self, name):
        found = getattr(self.host, name)
        return on_device_function(found) if callable(found) else as_on_device(found)

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def _read(name):
    def read(self):
        assert Stream.current is None or Stream.current.capturing is None, "the host cannot read while it is recorded"
        return getattr(self.host, name)()

    return read


def _operator(name):
    def operator(self, *others):
        return as_on_device(getattr(self.host, name)(*map(on_host, others)))

    return operator


for name in ("bool", "int", "float", "index"):
    setattr(ndarray, f"__{name}__", _read(f"__{name}__"))
for name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "rshift",
    "lshift",
):
    for form in ("", "r", "i"):
        setattr(ndarray, f"__{form}{name}__", _operator(f"__{form}{name}__"))
for name in ("neg", "abs", "invert", "pos", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{name}__", _operator(f"__{name}__"))


def on_host(operand):
    """What NumPy computes with in place of an operand of CuPy's."""
    if isinstance(operand, ndarray):
        return operand.host
    if isinstance(operand, list | tuple):
        return type(operand)(map(on_host, operand))
    if isinstance(operand, np.ndarray):
        raise TypeError(f"Unsupported type {type(operand)}")
    return operand


def as_on_device(result):
    if isinstance(result, list | tuple) and any(isinstance(part, np.ndarray) for part in result):
        return type(result)(map(as_on_device, result))
    return ndarray(np.asarray(result)) if isinstance(result, np.ndarray | np.generic) else result


def on_device_function(function):
    def call(*operands, **options):
        given = {name: on_host(option) for name, option in options.items()}
        return as_on_device(function(*map(on_host, operands), **given))

    return call


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class Entered(AbstractContextManager):
    def __exit__(self, *_):
        return None


class Device(Entered):
    entered = [0]

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        self.entered.append(self.number)
        return self

    def __exit__(self, *_):
        self.entered.pop()


class Graph:
    def __init__(self, work):
        self.work = work

    def upload(self, stream):
        assert not stream.capturing

    def launch(self, stream):
        for work in self.work:
            stream.do(work)


class Stream(Entered):
    by_ptr = {}
    current = None

    def __init__(self, non_blocking=False):
        self.ptr = 1 + len(self.by_ptr)
        self.by_ptr[self.ptr] = self
        self.capturing = None
        self.non_blocking = non_blocking
        #: Which streams it waited for, and the sizes of what was copied in it, in order.
        self.history = []
        self._outer = []
        self._device = Device.entered[-1]

    def __enter__(self):
        assert self._device == Device.entered[-1], "the stream is another device's"
        self._outer.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *_):
        Stream.current = self._outer.pop()

    def do(self, work):
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def begin_capture(self):
        assert self.capturing is None
        self.capturing = []

    def end_capture(self):
        work, self.capturing = self.capturing, None
        return Graph(work)

    def wait_event(self, event):
        self.history.append(event.stream)

    def synchronize(self):
        assert self.capturing is None


class Event:
    def __init__(self, block=False, disable_timing=False):
        self.stream = None

    def record(self, stream):
        self.stream = stream

    def synchronize(self):
        pass


class Function:
    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, grid, block, arguments):
        assert type(grid) is type(block) is tuple
        expected = zip(arguments, self.kernel.signature, strict=True)
        arguments = [None if e.endswith("*") and isinstance(a, np.uint64) and a == 0 else a for a, e in expected]
        assert all(a is None or isinstance(a, ndarray | np.generic) for a in arguments)
        arguments = [on_host(a) for a in arguments]
        self.kernel.check(arguments)
        (threads,) = block
        Stream.current.do(lambda: self.kernel.run(grid, threads, arguments))


class Module:
    def load(self, code):
        assert type(code) is bytes
        family, self.dtype, self.architecture = code.decode().split()
        self.family = Path(family) if family.endswith(".cu") else family

    def get_function(self, name):
        return Function(HostKernel(self.family, name, self.dtype))


def code(family, dtype, architecture):
    return f"{family} {dtype} {architecture}".encode()


def copy(target, source, size, kind, ptr):
    to, origin = (np.ctypeslib.as_array((np.ctypeslib.ctypes.c_ubyte * size).from_address(a)) for a in (target, source))
    Stream.by_ptr[ptr].history.append(size)
    Stream.by_ptr[ptr].do(lambda: np.copyto(to, origin))


def properties(number):
    return {"name": b"fake", "major": 9, "minor": 0, "multiProcessorCount": 2}


class Pinned(bytearray):
    def __init__(self, size):
        super().__init__(size)
        Stream.current.history.append(f"{size} pinned")

    @property
    def ptr(self):
        return np.frombuffer(self, np.uint8).ctypes.data


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 2,
    getDeviceProperties=properties,
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13020,
    deviceSynchronize=lambda: None,
    memGetInfo=lambda: (1 << 30, 1 << 31),
    memcpyAsync=copy,
    memcpyHostToDevice=1,
    memcpyDeviceToDevice=3,
)
cuda = SimpleNamespace(
    runtime=runtime,
    driver=SimpleNamespace(CUDADriverError=CUDADriverError),
    Device=Device,
    Stream=Stream,
    Event=Event,
    get_elapsed_time=lambda start, end: 1.0,
    function=SimpleNamespace(Module=Module),
    alloc_pinned_memory=Pinned,
)


def empty(shape, dtype):
    assert not np.prod(shape) or Stream.current is not None, "memory is given to a stream again when it is free"
    return ndarray(np.empty(shape, dtype))


def asnumpy(array):
    Stream.current.synchronize()
    return np.array(array.host)


def asarray(source, dtype=None):
    return ndarray(np.array(getattr(source, "host", source), dtype))


def get_default_memory_pool():
    return SimpleNamespace(free_bytes=lambda: 5, free_all_blocks=lambda stream: stream.history.append("released"))


def __getattr__(name):
    found = getattr(np, name)
    return found if isinstance(found, type) or not callable(found) else on_device_function(found)
