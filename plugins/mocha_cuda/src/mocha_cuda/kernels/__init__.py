"""Kernels by family, as in `csrc/kernels/`."""
