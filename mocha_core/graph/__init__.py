"""Descriptions of computations: values, ops, and plans of steps."""
