"""`FakeLibrary`: a cuBLASLt on the host, which follows its header word by word: column-major, in NumPy."""

import ctypes
import subprocess
from contextlib import nullcontext
from ctypes import c_double, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from mocha_cuda.cublaslt.constants import Epilogue, LayoutAttribute, MatmulAttribute, PreferenceAttribute
from mocha_cuda.cublaslt.library import Library

SOURCE = Path(__file__).with_suffix(".c")
OPERANDS = [name for matrix in "abcd" for name in (matrix, f"{matrix}_layout")]
POINTERS = ["handle", "matmul", *OPERANDS, "workspace", "stream"]
DTYPES = {0: np.float32, 1: np.float64}


class Descriptor(ctypes.Structure):
    _fields_ = (("sizes", c_size_t * 64), ("values", c_uint64 * 64))

    def __getitem__(self, attribute):
        """Its value, or 0 where it was never set; it has to have been set with the right size."""
        if self.sizes[attribute.number]:
            assert self.sizes[attribute.number] == ctypes.sizeof(attribute.c_type)
        return self.values[attribute.number]


class Recorded(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in POINTERS),
        ("workspace_bytes", c_size_t),
        ("algorithm", c_uint64),
        ("alpha", c_double),
        ("beta", c_double),
    )


def build(folder, *flags):
    path = folder / "libfake_cublaslt.so"
    command = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *flags, str(SOURCE)]
    subprocess.run([*command, "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


class FakeLibrary:
    """Attributes: `lt`, for the binding; `products`, all that it was asked for, in order.

    `submit` puts work into the stream with a number.
    """

    def __init__(self, folder, submit=lambda stream, work: work()):
        self.shared = build(folder)
        self.lt = Library(self.shared)
        self.products = []
        self.submit = submit
        self._callback = ctypes.CFUNCTYPE(None)(self._multiply)
        c_void_p.in_dll(self.shared, "fake_multiply").value = ctypes.cast(self._callback, c_void_p).value

    @property
    def alive(self):
        return c_int.in_dll(self.shared, "fake_alive").value

    def refuse(self, function="", status=15, epilogue=-1, algorithm=-1, algorithms=3, running=-1):
        (ctypes.c_char * 64).in_dll(self.shared, "fake_failing").value = function.encode()
        c_int.in_dll(self.shared, "fake_status").value = status
        c_int.in_dll(self.shared, "fake_refused_epilogue").value = epilogue
        c_int.in_dll(self.shared, "fake_refused_algorithm").value = algorithm
        c_int.in_dll(self.shared, "fake_algorithms").value = algorithms
        c_int.in_dll(self.shared, "fake_stopped_algorithm").value = running

    def wanted(self):
        """The preferences of the last search."""
        preference = Descriptor.in_dll(self.shared, "fake_preference")
        return {attribute.name: preference[attribute] for attribute in PreferenceAttribute}

    def _multiply(self):
        # Raised from a callback, an error would only be printed: the result is not right then.
        call = Recorded()
        ctypes.pointer(call)[0] = Recorded.in_dll(self.shared, "fake_product")
        try:
            self.submit(call.stream, self._product(call))
        except Exception as error:
            self.products.append(error)

    def _product(self, call):
        """Like the library, it looks at the descriptors now, and at the matrices when the stream comes to it."""
        matmul = Descriptor.from_address(call.matmul)
        a, b = (
            matrix(pointer, layout).swapaxes(-1, -2) if matmul[transposed] else matrix(pointer, layout)
            for pointer, layout, transposed in (
                (call.a, call.a_layout, MatmulAttribute.TRANSA),
                (call.b, call.b_layout, MatmulAttribute.TRANSB),
            )
        )
        c, d = matrix(call.c, call.c_layout), matrix(call.d, call.d_layout)
        epilogue = Epilogue(matmul[MatmulAttribute.EPILOGUE])
        length = {Epilogue.BIAS: 1, Epilogue.RELU_BIAS: 1, Epilogue.BGRADB: 2}.get(epilogue)
        bias = None if length is None else elements(matmul[MatmulAttribute.BIAS_POINTER], d.dtype, d.shape[length])
        self.products.append(
            SimpleNamespace(call=call, compute=matmul[MatmulAttribute.COMPUTE_TYPE], epilogue=epilogue)
        )

        @np.errstate(all="ignore")  # what is measured is not numbers
        def run():
            result = call.alpha * (a @ b) + (call.beta * c if call.beta else 0)
            if epilogue in (Epilogue.BIAS, Epilogue.RELU_BIAS):
                result += bias[:, None]
            if epilogue is Epilogue.RELU_BIAS:
                result = np.maximum(result, 0)
            if epilogue is Epilogue.BGRADB:
                bias[...] = b[0].sum(0)
            d[...] = result

        return run


def elements(address, dtype, count):
    return np.frombuffer((ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address), dtype)


def matrix(address, layout):
    """A view (batch, rows, columns) of column-major matrices."""
    layout = Descriptor.from_address(layout)
    dtype = DTYPES[layout[LayoutAttribute.TYPE]]
    rows, columns, ld = (layout[a] for a in (LayoutAttribute.ROWS, LayoutAttribute.COLS, LayoutAttribute.LD))
    assert ld >= rows > 0
    assert columns > 0
    batch, step = layout[LayoutAttribute.BATCH_COUNT] or 1, layout[LayoutAttribute.STRIDED_BATCH_OFFSET]
    memory = elements(address, dtype, (batch - 1) * step + (columns - 1) * ld + rows)
    strides = tuple(np.dtype(dtype).itemsize * n for n in (step, 1, ld))
    return np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), strides)


class FakeDevice:
    """What `Matmuls` asks of a device."""

    stream = SimpleNamespace(ptr=77)

    def __init__(self, times=()):
        self.held = []
        self._times = iter(times)

    running = staticmethod(nullcontext)

    def record(self, run):
        return run

    def milliseconds(self, run):
        run()
        return next(self._times)

    def address(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype):
        array = np.empty(shape, dtype)
        array.view(np.uint8)[...] = 0xFF  # NaN
        self.held.append(array)
        return array
