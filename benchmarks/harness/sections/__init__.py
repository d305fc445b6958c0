"""What `bench.py` can be asked for. Each module has `run(options)`, which returns Markdown."""
