"""Base classes for authors of layers: layers, parameters, builders, sources."""
