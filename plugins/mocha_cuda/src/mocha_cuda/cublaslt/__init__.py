"""cuBLASLt: matrix products, with an epilogue such as a bias in the same kernel."""
