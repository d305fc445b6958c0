"""What the authors of layers write with: layers, parameters, builders, sources."""
