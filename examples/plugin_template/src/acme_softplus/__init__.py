"""A layer for Mocha."""
