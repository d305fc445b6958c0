"""The API for authors of compiled kernels, beside that of `mocha_core.api`. Its names are stable.

In C, `mocha/library.h` is what they include; `mocha_native.get_include()` is the folder that it is in.
"""

from mocha_native import get_include as get_include
from mocha_native.backend import NativeBackend as NativeBackend
from mocha_native.compiled import Buffers as Buffers
from mocha_native.compiled import Compiled as Compiled
from mocha_native.compiled import NativeKernel as NativeKernel
from mocha_native.compiled import Series as Series
from mocha_native.compiled import floating as floating
from mocha_native.fold import fold_update as fold_update
from mocha_native.library import Library as Library
from mocha_native.matrix_product import bind_matmul as bind_matmul
from mocha_native.update import UpdateKernel as UpdateKernel
from mocha_native.update import update as update
