"""Backends of the first-party plugins; written by tools/make_stubs.py."""

