"""Plugins: registries, hooks, discovery, and the namespaces that show what was found."""
