"""A toy device: its arrays can be read on the host only through `Device.read`, its work is queued until then."""

from __future__ import annotations

import operator
from collections import deque

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class HostRead(AssertionError):
    """Somebody looked at device memory without synchronising."""


class Device:
    """An in-order queue of commands. `executing` while they run, in C and not in a Python loop."""

    def __init__(self):
        self.queue = []
        self.executing = False
        self.waits = 0

    def launch(self, command):
        """Run the command after all that came before; now, if the device is running already."""
        if self.executing:
            command()
        else:
            self.queue.append(command)

    def synchronise(self):
        if self.executing:
            return
        self.waits += 1
        commands, self.queue = self.queue, []
        self.executing = True
        try:
            drain(commands)
        finally:
            self.executing = False

    def read(self, array):
        self.synchronise()
        return np.array(array.memory)


def drain(commands):
    """Call every command; the loop itself is C."""
    deque(map(operator.call, commands), maxlen=0)


def _unwrap(x):
    if isinstance(x, DeviceArray):
        return x.memory
    return type(x)(map(_unwrap, x)) if isinstance(x, tuple | list) else x


class DeviceArray(NDArrayOperatorsMixin):
    """Memory of a device. Views share it; everything else needs the device to be running."""

    def __init__(self, device, memory):
        self.device, self.memory = device, memory

    shape = property(lambda self: self.memory.shape)
    dtype = property(lambda self: self.memory.dtype)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)

    @property
    def address(self):
        return self.memory.__array_interface__["data"][0]

    def wrap(self, x):
        return DeviceArray(self.device, np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x

    def __array_ufunc__(self, ufunc, method, *ins, **options):
        self._check(f"numpy.{ufunc.__name__}")
        return self.wrap(getattr(ufunc, method)(*_unwrap(ins), **{k: _unwrap(v) for k, v in options.items()}))

    def __getitem__(self, key):
        return self.wrap(self.memory[_unwrap(key)])

    def __setitem__(self, key, source):
        self.device.launch(lambda: self.memory.__setitem__(_unwrap(key), _unwrap(source)))

    def _check(self, what):
        if not self.device.executing:
            raise HostRead(f"{what} of device memory, which is read only after a synchronisation")

    def _refuse(self, *_, **__):
        raise HostRead("device memory was read as a Python or NumPy value")

    __array__ = __float__ = __int__ = __index__ = __bool__ = __iter__ = __len__ = _refuse


class DeviceNamespace:
    """NumPy's functions on device arrays. Only `reshape` works while the device is not running."""

    def __init__(self, device):
        self._device = device

    def __getattr__(self, name):
        function = getattr(np, name)
        if not callable(function) or isinstance(function, type):
            return function

        def call(*ins, **options):
            if name != "reshape" and not self._device.executing:
                raise HostRead(f"{name} was called while the device was not running")
            result = function(*_unwrap(ins), **{k: _unwrap(v) for k, v in options.items()})
            return DeviceArray(self._device, np.asarray(result))

        return call
