"""cuDNN's graph API: convolutions as operation graphs, plans for them, and the choice of the fastest plan."""
