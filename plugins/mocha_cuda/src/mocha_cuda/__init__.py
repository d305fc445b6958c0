"""Mocha on NVIDIA GPUs."""
