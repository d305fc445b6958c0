"""Nets on a system: from layers to plans, where data comes in, and what a user sees."""
