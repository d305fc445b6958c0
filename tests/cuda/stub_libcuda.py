"""A driver that is not there: libcuda with the functions that cuDNN looks for, all of which say that they are stubs.

With it, cuDNN makes plans for a device that is only described. Loaded before cuDNN, for the whole process.
"""

import ctypes
import subprocess

#: CUDA_ERROR_STUB_LIBRARY
STATUS = 34
FUNCTIONS = """
    cuInit cuDriverGetVersion cuGetProcAddress cuGetProcAddress_v2 cuGetErrorName cuGetErrorString
    cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount cuStreamGetCtx
    cuCtxGetCurrent cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent
    cuFuncGetAttribute cuFuncSetAttribute
    cuKernelGetAttribute cuKernelGetFunction cuKernelSetAttribute
    cuLaunchKernel cuLaunchKernelEx cuLaunchCooperativeKernel
    cuLibraryGetKernel cuLibraryLoadData cuLibraryLoadFromFile cuLibraryUnload
    cuLinkAddData cuLinkComplete cuLinkCreate cuLinkDestroy
    cuModuleGetFunction cuModuleLoadData cuModuleUnload
    cuOccupancyMaxPotentialClusterSize cuTensorMapEncodeIm2col cuTensorMapEncodeTiled
"""


def load_stub(folder):
    """Build it in a folder, and load it."""
    path = folder / "libcuda.so.1"
    source = "".join(f"int {name}(void) {{ return {STATUS}; }}\n" for name in FUNCTIONS.split())
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
