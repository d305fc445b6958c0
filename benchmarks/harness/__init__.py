"""The benchmark harness: `benchmarks/bench.py` is its command line, `benchmarks/README.md` says what it does."""
