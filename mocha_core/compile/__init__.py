"""From a plan to a program: fusion, kernels, layouts, buffers, and the programs that run."""
