"""`pytest -p rehearsal -p gpu_backend -m gpu` runs what is for a GPU with stand-ins for CuPy, cuDNN and cuBLASLt.

So it is known of these tests, and of all code that they run, that they keep to what CuPy can do.
"""

import sys
from importlib import import_module

import fake_cupy
from host_convolutions import HostConvolutions
from host_matmuls import HostMatmuls
from mocha_cuda import nvrtc, requirements

sys.modules["cupy"] = fake_cupy
Device = import_module("mocha_cuda.device").Device
CUDABackend = import_module("mocha_cuda.backend").CUDABackend
nvrtc.code = fake_cupy.code
requirements.LIBRARIES = {}


class Matmuls(HostMatmuls):
    def bind(self, *operands, vector=None, **options):
        return super().bind(*map(fake_cupy.on_host, operands), vector=fake_cupy.on_host(vector), **options)


class Convolutions(HostConvolutions):
    def plan(self, problem, wants):
        plan = super().plan(problem, wants)
        bind = plan.bind
        plan.bind = lambda arrays, workspace: bind({o: a.host for o, a in arrays.items()}, workspace.host)
        return plan


def kept(make):
    """An attribute made once for each backend."""
    return property(lambda backend: backend.__dict__.setdefault(f"_{make.__name__}", make(backend.device)))


Device.submit = lambda device, work: fake_cupy.Stream.current.do(work)
CUDABackend.matmuls = kept(Matmuls)
CUDABackend.convolutions = kept(Convolutions)
# Outside of `running`, tests use the default stream, as users may.
fake_cupy.Stream().__enter__()
