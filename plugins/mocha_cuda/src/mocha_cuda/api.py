"""The API for authors of CUDA kernels, beside that of `mocha_core.api`. Its names are stable.

A `CUDAKernel` launches kernels of a .cu file. Any other kernel that only puts work into the current stream, such as a
`cupy.RawKernel`, says so with `captured = True`, and is in the graph, too.
"""

from mocha_cuda.backend import CUDABackend as CUDABackend
from mocha_cuda.compiled import THREADS as THREADS
from mocha_cuda.compiled import Buffers as Buffers
from mocha_cuda.compiled import CUDAKernel as CUDAKernel
from mocha_cuda.compiled import Launch as Launch
from mocha_cuda.compiled import Series as Series
from mocha_cuda.compiled import served as served
from mocha_cuda.tables import Table as Table
from mocha_cuda.update import Update as Update
from mocha_cuda.update import UpdateKernel as UpdateKernel
from mocha_cuda.update import update as update
