"""Plugins: registries, hooks, discovery, and namespaces of the registered names."""
