"""Data sets for Mocha: 5,000 real digits of MNIST, and converters for the full data sets."""
