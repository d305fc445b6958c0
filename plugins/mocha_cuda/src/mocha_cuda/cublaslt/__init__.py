"""cuBLASLt: matrix products with what follows them in the same kernel."""
