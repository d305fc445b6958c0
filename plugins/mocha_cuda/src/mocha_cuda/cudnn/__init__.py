"""cuDNN's graph API: convolutions as operation graphs, plans for them, and which plan is the fastest."""
