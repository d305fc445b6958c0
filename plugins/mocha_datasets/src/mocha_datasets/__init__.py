"""Data sets for Mocha: a small real MNIST inside, and converters for the full sets."""
