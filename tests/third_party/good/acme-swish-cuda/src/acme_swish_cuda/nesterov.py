"""Nesterov's update, of all parameters in one launch."""

from pathlib import Path

from mocha_cuda.api import UpdateKernel, update


class CUDANesterov(UpdateKernel):
    family, entry = Path(__file__).with_name("nesterov.cu"), "nesterov_forward"


build = update(CUDANesterov)
