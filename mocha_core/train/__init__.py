"""Solvers, coffee breaks, and saved runs."""
